"""The keeper's sandbox: it opens nothing, starts nothing, and its memory is its own."""

import resource
from contextlib import suppress

from vtpmd.linux import kernel
from vtpmd.linux.hardening import forbid_core_files, forbid_tracing
from vtpmd.linux.landlock import close_files
from vtpmd.linux.streams import silence_streams

from . import system_calls

_PR_SET_NO_NEW_PRIVS = 38


def confine() -> None:
    """Close it before there is any secret, as far as the kernel has the means.

    A sleeping TPM is better kept than lost; core files and tracing are refused in any case. Raises
    OSError.
    """
    forbid_core_files()
    forbid_tracing()
    silence_streams()
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_MEMLOCK):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (hard, hard))
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    with suppress(OSError):
        close_files(scopes=False)  # it ends workers that do not wake
    kernel.drop_capabilities()
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def seal() -> None:
    """Let it make no system call any more but those of its loop, where the kernel has the means."""
    with suppress(OSError):
        system_calls.forbid_others()
