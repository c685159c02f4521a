"""The same fixtures as the supervisor's tests have."""

from tests.limits import time_limit
from tests.operations.certificates import bare, external
from tests.supervisor.conftest import daemon, root, stage

__all__ = ["bare", "daemon", "external", "root", "stage", "time_limit"]
