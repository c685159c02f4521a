"""Workers forked ahead of time, which know nothing yet: not whose they will be, and no secret.

    zygote: a blank is forked ── its pid; a worker's descriptors ──▶ blank: it is that worker

A blank has the null device and its end of a socket to the zygote, no more. It ends when the zygote
does. It has rehearsed, so that it has the pages that it is going to write to; the fork and the
copying of pages are most of what a start would cost.
"""

import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .errors import EXIT_FAILED

_FIRST = 3  # behind the null device
_MAX_FDS = 2
READY = 2
"""How many are kept ready: creating and starting a TPM needs two."""

Become = Callable[[list[int]], int]
"""Carries on as the worker with these descriptors; its exit status."""


@dataclass(frozen=True)
class _Blank:
    pid: int
    socket: socket.socket


class Blanks:
    """The blanks of this process: each begins with `rehearse` and ends with `become`."""

    def __init__(self, rehearse: Callable[[], object], become: Become) -> None:
        self._rehearse = rehearse
        self._become = become
        self._ready: deque[_Blank] = deque()

    @property
    def short(self) -> bool:
        """Whether there are fewer than there shall be."""
        return len(self._ready) < READY

    def add(self) -> None:
        """Fork one that rehearses. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                pid = _fork([theirs.fileno()], self._wait)
            except OSError:
                ours.close()
                raise
        self._ready.append(_Blank(pid, ours))

    def forget(self, pid: int) -> bool:
        """It has ended; whether it was one."""
        ended = [each for each in self._ready if each.pid == pid]
        for blank in ended:
            self._ready.remove(blank)
            blank.socket.close()
        return bool(ended)

    def employ(self, fds: Sequence[int]) -> int:
        """Make one a worker with these descriptors; its process id. Raises OSError."""
        while self._ready:
            blank = self._ready.popleft()
            if _hand_over(blank, fds):
                return blank.pid
        return _fork(fds, self._become)

    def _wait(self, fds: list[int]) -> int:
        """In a blank: rehearse, and carry on as what the zygote says; the exit status."""
        self._rehearse()
        with socket.socket(fileno=fds[0]) as sock:
            octet, fds, _, _ = socket.recv_fds(sock, 1, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
        return self._become(fds) if octet else 0


def _fork(fds: Sequence[int], live: Become) -> int:
    """Fork a process that has these descriptors and the null device; its id. Raises OSError.

    The descriptors are none of the lowest, which are the null device's and this process's own.
    """
    if pid := os.fork():
        return pid
    status = EXIT_FAILED
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()  # a Ctrl-C at the supervisor's terminal is not for us
        kept = range(_FIRST, _FIRST + len(fds))
        for fd, number in zip(fds, kept, strict=True):
            os.dup2(fd, number, inheritable=False)
        os.closerange(kept.stop, os.sysconf("SC_OPEN_MAX"))
        status = live(list(kept))
    finally:
        os._exit(status)


def _hand_over(blank: _Blank, fds: Sequence[int]) -> bool:
    """Give a blank its descriptors; False if it has ended."""
    with blank.socket:
        try:
            socket.send_fds(blank.socket, [b"\0"], list(fds))
        except ConnectionError:
            return False
    return True
