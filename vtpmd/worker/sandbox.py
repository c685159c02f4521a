"""The worker's sandbox: closed after every import and before the first octet of a guest.

In two steps around the start of the side thread: `confine` (limits, privileges, Landlock), which
later threads inherit, and `seal` (seccomp), which forbids new threads and covers those there are.
Nothing here needs privileges.
"""

import os
import resource
from collections.abc import Callable, Sequence

from vtpmd.ipc.messages import SandboxMode
from vtpmd.linux import kernel
from vtpmd.linux.hardening import forbid_tracing
from vtpmd.linux.landlock import close_files
from vtpmd.storage.state_file import FILE_SIZE

from . import seccomp
from .errors import SandboxError

_PR_SET_NO_NEW_PRIVS, _PR_SET_MDWE = 38, 65
_MDWE_REFUSE_EXEC_GAIN = 1

MAX_DATA = 96 << 20
"""How much memory of its own a worker may have, in octets."""
_MAX_ADDRESS_SPACE = 512 << 20
# RLIMIT_DATA counts what only this process may write: 28 MiB of an idle worker, less than 40 MiB of
# one that makes an RSA-4096 key or whose TPM is full. It does not count mappings that could be
# shared; RLIMIT_AS does, with what all workers share and what the C library only reserves: 121 to
# 184 MiB of a worker.
_LIMITS = {
    resource.RLIMIT_DATA: MAX_DATA,
    resource.RLIMIT_AS: _MAX_ADDRESS_SPACE,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_FSIZE: FILE_SIZE,
    resource.RLIMIT_NOFILE: 96,
    resource.RLIMIT_MSGQUEUE: 0,
}


class Sandbox:
    """One worker's sandbox. `active` tells, part by part, what is in force or why it is not.

    `removable`: descriptors of directories whose files may be removed, for a process that takes
    its own sockets away when it ends.
    """

    def __init__(self, mode: SandboxMode, removable: Sequence[int] = ()) -> None:
        self._mode = mode
        self._removable = tuple(removable)
        self.active: dict[str, str] = {"mode": mode}

    def confine(self) -> None:
        """Limits, no new privileges, and no file but those that are open.

        Raises SandboxError in mode `require` if a part can't be had. Core files and ptrace are
        refused in every mode, for secrets stay secrets.
        """
        self._part("limits", _set_limits)
        self._part("not-dumpable", _not_dumpable)
        if self._mode == "off":
            return
        self._part("no-new-privileges", lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1))
        self._part("landlock", lambda: f"ABI {close_files(self._removable)}")
        self._part(
            "no-executable-memory",
            lambda: _prctl(_PR_SET_MDWE, _MDWE_REFUSE_EXEC_GAIN),
            optional=True,
        )
        self._part("capabilities", _drop_capabilities)

    def seal(self) -> None:
        """Only the listed system calls from here on, in every thread. Raises SandboxError."""
        if self._mode != "off":
            self._part("seccomp", lambda: f"{seccomp.load(removing=bool(self._removable))} rules")

    def _part(self, name: str, close: Callable[[], str], optional: bool = False) -> None:
        """`optional`: newer than the kernels we support; its absence is told, never refused."""
        try:
            self.active[name] = close()
        except OSError as error:
            self.active[name] = f"unavailable: {error.strerror}"
            if self._mode == "require" and not optional:
                raise SandboxError(
                    f"sandbox part {name} can't be had: {error.strerror}; install what is missing "
                    "or configure sandbox: best-effort"
                ) from None


def _set_limits() -> str:
    for limit, wanted in _LIMITS.items():
        _, hard = resource.getrlimit(limit)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(limit, (value, value))
    return "on"


def _not_dumpable() -> str:
    forbid_tracing()
    return "on"


def _prctl(option: int, argument: int) -> str:
    kernel.prctl(option, argument)
    return "on"


def _drop_capabilities() -> str:
    kernel.drop_capabilities()
    return "none" if os.geteuid() else "none, though root"
