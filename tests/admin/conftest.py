"""No test of the admin socket may hang."""

from tests.limits import time_limit

__all__ = ["time_limit"]
