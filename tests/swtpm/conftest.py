"""The fixtures of a worker, for a real client of it."""

from tests.worker.conftest import host, zygote

__all__ = ["host", "zygote"]
