"""The same fixtures as the supervisor's tests have."""

from tests.supervisor.conftest import daemon, root, stage

__all__ = ["daemon", "root", "stage"]
