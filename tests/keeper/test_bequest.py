"""The bequests that the keeper has: whose they are, for how long, and what is none."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.keeper.harness import Keeper, Sleeper, kept, one, readable
from vtpmd.ipc.messages import Asleep, Bequeath, Bequest, ForgetBequest, ReadBequest
from vtpmd.linux.descriptors import close_fds

SOON = 0.3


@pytest.fixture
def keeper(short_path: Path) -> Iterator[Keeper]:
    with kept(short_path) as keeper:
        yield keeper


@dataclass
class Machine:
    """QEMU's ends of its connections."""

    control: socket.socket
    data: socket.socket

    def freed(self) -> bool:
        """Whether both connections have ended."""
        return all(readable(end.fileno()) and not end.recv(1) for end in self)

    def __iter__(self) -> Iterator[socket.socket]:
        return iter((self.control, self.data))


@contextmanager
def connected(worker: Sleeper, kind: socket.SocketKind = socket.SOCK_STREAM) -> Iterator[Machine]:
    """A machine whose connections are left by the worker, which has them no more itself."""
    with ExitStack() as stack:
        pairs = [socket.socketpair(socket.AF_UNIX, kind) for _ in range(2)]
        control, data = (stack.enter_context(ours) for ours, _ in pairs)
        worker.channel.send(Bequeath(), [theirs.fileno() for _, theirs in pairs])
        for _, theirs in pairs:
            theirs.close()
        yield Machine(control, data)


def bequest(keeper: Keeper, number: int = 1) -> list[int]:
    """What the keeper has for an instance."""
    keeper.daemon.send(ReadBequest(one(number)))
    assert readable(keeper.daemon)
    message, fds = keeper.daemon.receive()
    if isinstance(message, Asleep):  # which was told before
        close_fds(fds)
        message, fds = keeper.daemon.receive()
    assert message == Bequest(one(number))
    return fds


def test_what_a_crashed_worker_has_left_goes_to_the_daemon(keeper: Keeper) -> None:
    worker = keeper.keep(1)
    with connected(worker) as machine:
        worker.close()
        control, data, progress = fds = bequest(keeper)
        for fd, end in ((control, machine.control), (data, machine.data)):
            os.write(fd, b"!")
            assert end.recv(1) == b"!"
        assert os.fstat(progress).st_size > 0
        with pytest.raises(PermissionError):
            os.ftruncate(progress, 0)
        close_fds(fds)
        close_fds(again := bequest(keeper))
        assert len(again) == 3


def test_it_is_no_other_instance_s(keeper: Keeper) -> None:
    worker, other = keeper.keep(1), keeper.keep(2)
    with connected(worker):
        worker.close()
        other.close()
        assert bequest(keeper, 2) == []
        assert bequest(keeper, 3) == []


def test_who_ends_in_order_has_taken_it_back(keeper: Keeper) -> None:
    worker = keeper.keep(1)
    with connected(worker) as machine:
        worker.channel.send(Bequeath())
        worker.close()
        assert machine.freed()
        assert bequest(keeper) == []


def test_the_last_one_counts(keeper: Keeper) -> None:
    worker = keeper.keep(1)
    with connected(worker) as first, connected(worker) as second:
        worker.close()
        assert first.freed()
        control, *_ = fds = bequest(keeper)
        os.write(control, b"!")
        assert second.control.recv(1) == b"!"
        close_fds(fds)


def test_it_stays_while_the_next_worker_has_left_nothing_yet(keeper: Keeper) -> None:
    first = keeper.keep(1)
    with connected(first) as machine:
        first.close()
        second = keeper.keep(1)
        second.close()
        fds = bequest(keeper)
        assert len(fds) == 3
        close_fds(fds)
        third = keeper.keep(1)
        third.channel.send(Bequeath())
        assert bequest(keeper) == []
        assert machine.freed()


def test_whoever_sleeps_has_none(keeper: Keeper) -> None:
    worker = keeper.keep(1)
    with connected(worker):
        worker.rest()
        assert bequest(keeper) == []


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_what_is_no_connection_of_qemu_is_not_kept(keeper: Keeper, kind: socket.SocketKind) -> None:
    """A worker that a guest has taken over has a channel to the daemon, and to the keeper."""
    worker = keeper.keep(1)
    with connected(worker, kind):
        worker.close()
        assert bequest(keeper) == []


def test_a_file_is_not_kept(keeper: Keeper) -> None:
    worker = keeper.keep(1)
    reader, writer = os.pipe()
    worker.channel.send(Bequeath(), [reader, writer])
    close_fds([reader, writer])
    worker.close()
    assert bequest(keeper) == []


def test_nobody_waits_for_a_machine_that_has_hung_up(keeper: Keeper) -> None:
    worker = keeper.keep(1)
    with connected(worker) as machine:
        worker.close()
        close_fds(bequest(keeper))
        keeper.daemon.close()
        assert not keeper.ends(SOON)
        machine.data.close()
        assert keeper.ends(30.0)


def test_a_daemon_that_was_away_finds_it(keeper: Keeper) -> None:
    worker = keeper.keep(1)
    with connected(worker) as machine:
        keeper.daemon.close()
        worker.close()
        assert not keeper.ends(SOON)
        assert not readable(machine.data.fileno(), 0)
        keeper.reconnect()
        close_fds(fds := bequest(keeper))
        assert len(fds) == 3


def test_where_nobody_goes_on_the_machine_finds_out(keeper: Keeper) -> None:
    worker = keeper.keep(1)
    with connected(worker) as machine:
        worker.close()
        daemon_s = bequest(keeper)  # who has duplicates does not hold the machine up
        keeper.daemon.send(ForgetBequest(one(1)))
        keeper.daemon.send(ForgetBequest(one(2)))
        assert bequest(keeper) == []
        assert machine.freed()
        close_fds(daemon_s)
        keeper.daemon.close()
        assert keeper.ends()


def test_a_worker_that_serves_is_not_cut_off(keeper: Keeper) -> None:
    worker = keeper.keep(1)
    with connected(worker) as machine:
        keeper.daemon.send(ForgetBequest(one(1)))
        close_fds(fds := bequest(keeper))
        assert len(fds) == 3
        assert not readable(machine.data.fileno(), 0)
