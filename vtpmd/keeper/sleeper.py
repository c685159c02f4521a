"""One TPM of which the keeper knows: awake, asleep or waking, or left behind by its worker."""

import os
import socket
import stat
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

from vtpmd.ipc.channel import Channel
from vtpmd.ipc.messages import STATE_FDS, GiveBack, SandboxMode
from vtpmd.linux.descriptors import close_fds
from vtpmd.linux.record_locks import lock_holder
from vtpmd.spawn.spawner import Spawning

from .deks import Deks

_FILES = STATE_FDS + 2
"""The file in memory, the state files and the instance's lock come before the sockets."""


class UnfitError(Exception):
    """These descriptors can't be kept: one is not what it has to be."""


@dataclass
class Estate:
    """What is kept of one that sleeps: the order to serve it, its key among `deks`, and `fds`."""

    order: GiveBack = field(repr=False)
    fds: list[int]
    deks: Deks
    _place: int | None = None

    @property
    def sockets(self) -> list[int]:
        """Those whose first octet wakes it."""
        return self.fds[_FILES:]

    def check(self) -> None:
        """Raise UnfitError unless looking at the sockets can't hold us up.

        Polling is up to whoever has made a descriptor, which may be a guest's file system.
        """
        for fd in self.sockets:
            _demand_local(fd)
        if not stat.S_ISREG(os.fstat(self.fds[0]).st_mode):
            raise UnfitError

    def guard(self) -> None:
        """Put its key away, as long as it sleeps."""
        self._place = self.deks.guard(self.order)

    def whole_order(self) -> AbstractContextManager[GiveBack]:
        """The order with its key, while somebody is told."""
        return self.deks.in_place(self.order, self._place)

    def wipe(self) -> None:
        """Wipe its key: another process goes on with it."""
        self.deks.forget(self.order, self._place)

    def forget(self) -> None:
        """Its key is wiped, and what was sealed is gone, too: a worker goes on with it."""
        self.wipe()
        with suppress(OSError):
            os.ftruncate(self.fds[0], 0)
        close_fds(self.fds)


@dataclass
class Sleeper:
    """`channel`: to the worker that serves it, or is about to. `lock`: its serving lock.

    `progress`: the file in which that worker notes what QEMU waits for. `bequest`: QEMU's control
    and data connection, and progress, should the worker crash; empty while there is none.
    `sandbox`: of the one that wakes it; `failures`: how often it could not be woken lately.
    """

    name: str
    lock: int
    progress: int
    sandbox: SandboxMode
    channel: Channel | None = None
    estate: Estate | None = None
    spawning: Spawning | None = None
    failures: int = 0
    bequest: list[int] = field(default_factory=list)

    @property
    def waking(self) -> bool:
        """Whether a worker is about to go on with it."""
        return self.estate is not None and self.channel is not None

    @property
    def left(self) -> bool:
        """Whether its worker has crashed, and what that has left waits for an heir."""
        return bool(self.bequest) and self.channel is None

    def silence(self) -> None:
        """Hear its worker no more."""
        if self.channel is not None:
            self.channel.close()
        self.channel = None

    @property
    def left_data(self) -> int:
        """The data connection of the bequest."""
        return self.bequest[1]

    def bequeath(self, fds: list[int]) -> None:
        """Have these connections, or none, in the place of those there were."""
        self.forget_bequest()
        try:
            for fd in fds:
                _demand_local(fd, socket.SOCK_STREAM)
            self.bequest = [*fds, os.dup(self.progress)] if fds else []
        except (UnfitError, OSError):
            close_fds(fds)

    def forget_bequest(self) -> None:
        """Close it."""
        close_fds(self.bequest)
        self.bequest = []

    def end_bequest(self) -> None:
        """Let whoever waits at the other end find out, whoever else has these open."""
        for fd in self.bequest[:-1]:
            with suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
                sock.shutdown(socket.SHUT_RDWR)

    @property
    def served(self) -> bool:
        """Whether a process holds the serving lock."""
        try:
            return lock_holder(self.lock) is not None
        except OSError:
            return False


def _demand_local(fd: int, kind: socket.SocketKind | None = None) -> None:
    """Raise UnfitError unless it is a Unix socket, of this kind."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        raise UnfitError
    with socket.socket(fileno=os.dup(fd)) as sock:
        if sock.family != socket.AF_UNIX or kind not in (None, sock.type):
            raise UnfitError
