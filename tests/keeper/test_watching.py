"""A keeper that the kernel lets watch no more descriptors keeps what it has, and goes on."""

import errno
import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.keeper.harness import Keeper, estate
from tests.worker.harness import DEADLINE, wait_for
from vtpmd.ipc.channel import Channel
from vtpmd.ipc.rules import Side, State
from vtpmd.keeper.deks import Deks
from vtpmd.keeper.keeper import Keeper as Loop
from vtpmd.linux import sockets
from vtpmd.spawn.spawner import Spawner


class Epoll:
    """The kernel's, with room for as many descriptors as `room` says."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.watched = set[int]()
        self.room = 100
        self.poll, self.modify = self._epoll.poll, self._epoll.modify
        self.close = self._epoll.close

    def register(self, fd: int, events: int) -> None:
        if len(self.watched) >= self.room:
            raise OSError(errno.ENOSPC, "max_user_watches")
        self._epoll.register(fd, events)
        self.watched.add(fd)

    def unregister(self, fd: int) -> None:
        self._epoll.unregister(fd)
        self.watched.remove(fd)


@pytest.fixture
def epoll(monkeypatch: pytest.MonkeyPatch) -> Iterator[Epoll]:
    with closing(Epoll()) as epoll:
        monkeypatch.setattr(select, "epoll", lambda: epoll)
        yield epoll


@pytest.fixture
def keeper(epoll: Epoll, short_path: Path) -> Iterator[Keeper]:
    """A keeper in a thread of this process; it ends with its daemon, for nothing sleeps."""
    path = short_path / "keeper"
    ours, theirs = Channel.pair()
    with theirs, sockets.listen(path, mode=0o600, kind=socket.SOCK_SEQPACKET) as listener:
        loop = Loop(listener, -1, Spawner(ours), Deks())
        thread = threading.Thread(target=loop.run, daemon=True)
        thread.start()
        with closing(Channel.connect(path, Side.SUPERVISOR, State.KEEPING)) as daemon:
            daemon.set_blocking(True)
            keeper = Keeper(path, os.getpid(), -1, daemon)
            yield keeper
            for sleeper in keeper.sleepers:
                sleeper.close()
            keeper.daemon.close()
        thread.join(DEADLINE)
        ours.close()
        assert not thread.is_alive()


@pytest.mark.parametrize("room", [0, 2], ids=["none of them", "two of them"])
def test_what_it_cannot_watch_stays_the_worker_s(keeper: Keeper, epoll: Epoll, room: int) -> None:
    keeper.asleep()
    before = set(epoll.watched)
    worker = keeper.keep(1)
    keeper.asleep()
    epoll.room = len(epoll.watched) + room
    with estate() as (fds, _):
        worker.give_back(fds)
        assert worker.answer() is None
    assert keeper.asleep() == set()
    assert epoll.watched == before


def test_what_a_worker_did_not_wait_for_stays_the_worker_s(keeper: Keeper, epoll: Epoll) -> None:
    """Nothing of it is read, cut off or watched."""
    keeper.asleep()
    before = set(epoll.watched)
    worker = keeper.keep(1)
    keeper.asleep()  # by now it hears the worker
    with estate() as (fds, clients):
        worker.channel.stop_hearing()
        worker.give_back(fds)
        clients[0].send(b"\1")
        wait_for(lambda: epoll.watched == before)
        assert keeper.asleep() == set()
        assert os.pread(fds[0], 10, 0) == b"sealed"
        with socket.socket(fileno=os.dup(fds[-2])) as end:
            assert end.recv(2) == b"\1"


def test_a_worker_that_it_cannot_watch_has_no_keeper(keeper: Keeper, epoll: Epoll) -> None:
    keeper.asleep()
    epoll.room = len(epoll.watched)
    assert keeper.keep(1).answer() is None
    assert keeper.asleep() == set()
