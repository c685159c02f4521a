"""The same fixtures as the supervisor's tests have."""

from tests.limits import time_limit
from tests.supervisor.conftest import daemon, root, stage

__all__ = ["daemon", "root", "stage", "time_limit"]
