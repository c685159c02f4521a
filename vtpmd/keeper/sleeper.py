"""One TPM of which the keeper knows: awake, asleep or waking."""

import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from vtpmd.ipc.channel import Channel
from vtpmd.ipc.messages import STATE_FDS, GiveBack, SandboxMode
from vtpmd.linux.locked import lock
from vtpmd.spawn.spawner import Spawning

_FILES = STATE_FDS + 2
"""The file in memory, the state files and the instance's lock come before the sockets."""


class UnfitError(Exception):
    """These descriptors can't be kept: one is not what it has to be."""


@dataclass
class Estate:
    """What is kept of one that sleeps: the order to serve it, which holds its key, and `fds`."""

    order: GiveBack = field(repr=False)
    fds: list[int]

    @property
    def sockets(self) -> list[int]:
        """Those whose first octet wakes it."""
        return self.fds[_FILES:]

    def check(self) -> None:
        """Raise UnfitError unless looking at the sockets can't hold us up.

        Polling is up to whoever has made a descriptor, which may be a guest's file system.
        """
        for fd in self.sockets:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                raise UnfitError
            with socket.socket(fileno=os.dup(fd)) as sock:
                if sock.family != socket.AF_UNIX:
                    raise UnfitError
        if not stat.S_ISREG(os.fstat(self.fds[0]).st_mode):
            raise UnfitError

    def guard(self) -> None:
        """Keep its key out of what is swapped out, where the host lets us."""
        with suppress(OSError):
            lock(self.order.order.key.dek)

    def forget(self) -> None:
        """Its key is wiped, and what was sealed is gone, too: another process goes on with it."""
        wipe(self.order)
        with suppress(OSError):
            os.ftruncate(self.fds[0], 0)
        close_all(self.fds)


@dataclass
class Sleeper:
    """`channel`: to the worker that serves it, or is about to. `lock`: its serving lock.

    `sandbox`: of the one that wakes it; `failures`: how often it could not be woken lately.
    """

    name: str
    lock: int
    sandbox: SandboxMode
    channel: Channel | None = None
    estate: Estate | None = None
    spawning: Spawning | None = None
    failures: int = 0


def wipe(order: GiveBack) -> None:
    """Overwrite the key in an order."""
    dek = order.order.key.dek
    dek[:] = bytes(len(dek))


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
