"""The serving lock, by which the kernel tells which process serves an instance.

A record lock of fcntl(2) is the process's own, whatever it forks or passes on. Who gives way lets
it go before it ends, for its successor holds it, too, and one of them shall be the only one.
"""

import fcntl
import os

from vtpmd.linux.record_locks import lock_holder

_held: list[int] = []


def hold(fd: int) -> None:
    """Hold the lock from now on. Raises OSError."""
    fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    _held.append(fd)


def held_by_others() -> bool:
    """Whether another process holds it, too. Raises OSError."""
    return any(lock_holder(fd) is not None for fd in _held)


def let_go() -> None:
    """Hold it no more: closing any descriptor of its file gives it up."""
    while _held:
        os.close(_held.pop())
