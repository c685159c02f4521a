"""The keeper's sandbox: it opens nothing, starts nothing, and its memory is its own."""

import resource
from contextlib import suppress

from vtpmd.linux import kernel
from vtpmd.linux.hardening import forbid_core_files, forbid_tracing
from vtpmd.linux.streams import silence_streams

_PR_SET_NO_NEW_PRIVS = 38
# Landlock access bits (linux/landlock.h): all that each ABI can refuse, as in worker/sandbox.py.
_FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
_FS_BITS_NEWEST = 16
_NET_ALL, _NET_ABI = 0b11, 4


def confine() -> None:
    """Close it, as far as the kernel has the means: a sleeping TPM is better kept than lost.

    Core files and tracing are refused in any case. Raises OSError.
    """
    forbid_core_files()
    forbid_tracing()
    silence_streams()
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_MEMLOCK):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (hard, hard))
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    with suppress(OSError):
        _landlock()
    kernel.drop_capabilities()
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _landlock() -> None:
    abi = kernel.landlock_abi()
    if abi:
        handled: tuple[int, ...] = ((1 << _FS_BITS.get(abi, _FS_BITS_NEWEST)) - 1,)
        kernel.landlock(handled + ((_NET_ALL,) if abi >= _NET_ABI else ()), [])
