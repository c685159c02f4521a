"""Merging of memory pages that are the same in several processes (prctl(2), PR_SET_MEMORY_MERGE).

Linux 6.4 and later, where it is built with KSM. The kernel does it in the background, as
/sys/kernel/mm/ksm says.
"""

import errno
from pathlib import Path

from .kernel import prctl

_PR_SET_MEMORY_MERGE, _PR_GET_MEMORY_MERGE = 67, 68
_RUN = Path("/sys/kernel/mm/ksm/run")


def demand() -> None:
    """Raise OSError, with the reason, where the kernel cannot merge the memory of processes."""
    try:
        prctl(_PR_GET_MEMORY_MERGE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        reason = "the kernel merges no memory of processes: that takes Linux 6.4, built with KSM"
        raise OSError(errno.EINVAL, reason) from None


def goes_on() -> bool:
    """Whether the kernel merges memory at present: somebody has to switch that on."""
    try:
        return _RUN.read_text().strip() == "1"
    except OSError:
        return False


def permit() -> None:
    """Permit it for the memory of this process and of those it forks. Raises OSError."""
    prctl(_PR_SET_MEMORY_MERGE, 1)
