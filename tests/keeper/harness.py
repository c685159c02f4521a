"""A real keeper process, and its daemon and workers in this process."""

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from tests.worker.harness import DEADLINE, make_key
from vtpmd.ipc.channel import Channel, ChannelClosedError
from vtpmd.ipc.messages import (
    PROGRESS_SIZE,
    STATE_FDS,
    GiveBack,
    Keep,
    KeeperReplaced,
    Message,
    ReadSleepers,
    ReplaceKeeper,
    Serve,
    TakenBack,
)
from vtpmd.ipc.rules import Side, State
from vtpmd.linux import sockets
from vtpmd.linux.memory import memory_file
from vtpmd.spawn.process import start_keeper
from vtpmd.supervisor import serving_lock

M = TypeVar("M")


def readable(what: Channel | int, seconds: float = DEADLINE) -> bool:
    """Whether there is something to receive within this time."""
    poller = select.poll()
    poller.register(what, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def one(number: int) -> UUID:
    """The UUID of one of several instances."""
    return UUID(int=number)


def order_of(uuid: UUID) -> GiveBack:
    """What a worker says that gives this TPM back."""
    return GiveBack(Serve(uuid, f"web{uuid.int}", make_key()), idle=60_000)


@dataclass
class Sleeper:
    """A worker's end of its channel to the keeper, and what its clients hold."""

    uuid: UUID
    channel: Channel
    clients: list[socket.socket] = field(default_factory=list)

    def give_back(self, fds: list[int], due: int = 0) -> None:
        self.channel.send(replace(order_of(self.uuid), due=due), fds)

    def rest(self, clients: int = 2, due: int = 0) -> None:
        """Give back a TPM with so many clients; the keeper has taken it."""
        with estate(clients) as (fds, connected):
            self.give_back(fds, due)
            assert isinstance(self.answer(), TakenBack)
            self.clients = [client.dup() for client in connected]

    def answer(self) -> Message | None:
        """What the keeper says, None if it hangs up."""
        assert readable(self.channel), "the keeper says nothing"
        try:
            message, _ = self.channel.receive()
        except ChannelClosedError:
            return None
        return message

    def close(self) -> None:
        self.channel.close()
        for client in self.clients:
            client.close()


@contextmanager
def estate(clients: int = 2) -> Iterator[tuple[list[int], list[socket.socket]]]:
    """What a worker gives back, as descriptors, and its clients' ends of their connections."""
    with ExitStack() as opened:
        files = [os.memfd_create("any") for _ in range(STATE_FDS + 2)]
        os.write(files[0], b"sealed")
        for fd in files:
            opened.callback(os.close, fd)
        pairs = [socket.socketpair() for _ in range(clients)]
        listeners = [opened.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2)]
        for listener in listeners:
            listener.bind("")
            listener.listen()
        for pair in pairs:
            for end in pair:
                opened.enter_context(end)
        ends = [*listeners, *(theirs for _, theirs in pairs)]
        yield [*files, *(end.fileno() for end in ends)], [ours for ours, _ in pairs]


@dataclass
class Keeper:
    """The keeper process `pid`; `daemon` is a daemon's channel to it."""

    path: Path
    pid: int
    pidfd: int
    daemon: Channel
    sleepers: list[Sleeper] = field(default_factory=list)
    held: list[socket.socket] = field(default_factory=list)
    pending: tuple[int, int] = (0, -1)
    """Process id and pidfd of the keeper that is to go on."""

    def reconnect(self) -> None:
        """Another daemon takes the place of this one."""
        self.daemon.close()
        self.daemon = Channel.connect(self.path, Side.SUPERVISOR, State.KEEPING)
        self.daemon.set_blocking(True)

    def replace(self) -> None:
        """Another keeper process goes on in the place of this one."""
        with self.successor() as theirs:
            self.daemon.send(ReplaceKeeper(), [theirs])
        self.told(KeeperReplaced)
        self.follow()

    def follow(self) -> None:
        """The other process is the keeper now."""
        assert self.ends()
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.pid, self.pidfd = self.pending

    @contextmanager
    def successor(self) -> Iterator[int]:
        """The other keeper's end of a channel to it; it is prepared."""
        ours, theirs = Channel.pair()
        with ours:
            with theirs:
                pid = start_keeper([theirs.fileno()])
            self.pending = pid, os.pidfd_open(pid)
            assert readable(ours.fileno())
            yield ours.fileno()

    def keep(self, number: int, held: bool = False) -> Sleeper:
        """Tell of an instance whose worker serves; the keeper's end may be held here, too."""
        ours, theirs = Channel.pair()
        order = Keep(one(number), f"web{number}")
        with memory_file("lock") as lock, memory_file("any", PROGRESS_SIZE) as progress:
            self.daemon.send(order, [theirs.fileno(), lock, progress])
        if held:
            self.held.append(theirs)
        else:
            theirs.close()
        sleeper = Sleeper(one(number), Channel(ours, Side.SUCCESSOR, State.SUCCEEDED))
        self.sleepers.append(sleeper)
        return sleeper

    def told(self, kind: type[M], fits: Callable[[M], bool] = lambda message: True) -> M:
        """The next report of this kind that fits; others are passed over."""
        while True:
            assert readable(self.daemon), f"no {kind.__name__} comes"
            message, fds = self.daemon.receive()
            for fd in fds:
                os.close(fd)
            if isinstance(message, kind) and fits(message):
                return message

    def asleep(self) -> set[UUID]:
        """Which TPMs it says to keep."""
        self.daemon.send(ReadSleepers())
        found = set[UUID]()
        while True:
            assert readable(self.daemon)
            message, fds = self.daemon.receive()
            for fd in fds:
                os.close(fd)
            if type(message).__name__ == "Sleepers":
                return found
            if type(message).__name__ == "Asleep":
                found.add(message.uuid)  # type: ignore[union-attr]

    def ends(self, seconds: float = DEADLINE) -> bool:
        """Whether the process ends within this time."""
        return readable(self.pidfd, seconds)


@contextmanager
def kept(directory: Path) -> Iterator[Keeper]:
    path = directory / "keeper"
    with (
        serving_lock.created(path) as lock,
        sockets.listen(path, mode=0o600, kind=socket.SOCK_SEQPACKET) as listener,
    ):
        pid = start_keeper([listener.fileno(), lock])
        pidfd = os.pidfd_open(pid)
        daemon = Channel.connect(path, Side.SUPERVISOR, State.KEEPING)
        daemon.set_blocking(True)
    keeper = Keeper(path, pid, pidfd, daemon)
    try:
        yield keeper
    finally:
        for sleeper in keeper.sleepers:
            sleeper.close()
        for end in keeper.held:
            end.close()
        keeper.daemon.close()
        if not keeper.ends(0.5):
            signal.pidfd_send_signal(keeper.pidfd, signal.SIGKILL)
        os.waitpid(keeper.pid, 0)
        os.close(keeper.pidfd)
