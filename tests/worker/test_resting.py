"""Who has a TPM that a worker gives to the keeper, if the keeper takes long to say it has it."""

import os
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import pytest

from tests.worker.harness import make_key
from vtpmd.ipc.channel import Channel, ChannelClosedError
from vtpmd.ipc.last_word import answered, answered_at_last
from vtpmd.ipc.messages import STATE_FDS, GiveBack, Serve, TakenBack
from vtpmd.ipc.rules import Side, State
from vtpmd.linux.descriptors import close_fds

SOON = 0.05
ORDER = GiveBack(Serve(UUID(int=1), "web1", make_key()))


@dataclass
class Bed:
    """Both ends of a worker's channel to the keeper, and descriptors to give."""

    worker: Channel
    keeper: Channel
    fds: list[int]

    def take(self) -> None:
        """The keeper says that it has it."""
        _, fds = self.keeper.receive()
        close_fds(fds)
        self.keeper.send(TakenBack())


@pytest.fixture
def bed() -> Iterator[Bed]:
    ours, theirs = Channel.pair()
    worker = Channel(ours, Side.SUCCESSOR, State.SUCCEEDED)
    keeper = Channel(theirs, Side.PREDECESSOR, State.SUCCEEDED)
    yield Bed(worker, keeper, [ours.fileno()] * (STATE_FDS + 4))
    worker.close()
    keeper.close()


def test_a_keeper_that_says_nothing_in_time_can_t_have_it_later(bed: Bed) -> None:
    assert not answered(bed.worker, ORDER, bed.fds, SOON)
    with pytest.raises(ChannelClosedError):
        bed.take()


def test_a_keeper_that_reads_nothing_does_not_hold_the_worker_up(bed: Bed) -> None:
    with socket.socket(fileno=os.dup(bed.worker.fileno())) as full:
        full.setblocking(False)
        with pytest.raises(BlockingIOError):
            deque(iter(lambda: full.send(b"any"), 0), maxlen=0)
    assert not answered(bed.worker, ORDER, bed.fds, SOON)


def test_what_the_keeper_said_in_the_last_moment_counts(bed: Bed) -> None:
    bed.worker.send(ORDER, bed.fds)
    bed.take()
    assert answered_at_last(bed.worker)


def test_a_keeper_that_has_ended_has_nothing(bed: Bed) -> None:
    bed.keeper.close()
    assert not answered(bed.worker, ORDER, bed.fds, SOON)
