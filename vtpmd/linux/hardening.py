"""What a process that handles secrets asks of the kernel for itself. Raises OSError."""

import resource
import signal

from .kernel import prctl

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4


def forbid_core_files() -> None:
    """Have neither this process nor its children write core files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def forbid_tracing() -> None:
    """Let nobody without privileges trace this process or read its memory; no core dumps at all.

    A program that is executed later starts without it (prctl(2), PR_SET_DUMPABLE).
    """
    prctl(_PR_SET_DUMPABLE, 0)


def end_with_parent() -> None:
    """Be killed when the thread that started this process ends."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
