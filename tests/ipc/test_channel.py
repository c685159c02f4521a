"""Channels: packets with descriptors, and the state table enforced at both ends."""

import os
import socket
from collections.abc import Iterator
from uuid import UUID

import pytest

from vtpmd.ipc.channel import MAX_MESSAGE, Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import (
    CODEC,
    RULES,
    Event,
    Failed,
    Message,
    Ready,
    Serve,
    Side,
    Spawn,
    Spawned,
    State,
    Status,
    Stop,
    Stopped,
)

UUID_A = UUID(int=1)
SERVE = Serve(UUID_A, "web1", bytearray(32), b"id", ())


def _ends(state: State, worker: Side = Side.WORKER) -> tuple[Channel, Channel]:
    ours, theirs = Channel.pair()
    return Channel(ours, Side.SUPERVISOR, state), Channel(theirs, worker, state)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    supervisor, worker = _ends(State.NEW)
    yield supervisor, worker
    supervisor.close()
    worker.close()


def test_a_whole_conversation(ends: tuple[Channel, Channel]) -> None:
    supervisor, worker = ends
    fds = [os.open("/", os.O_RDONLY), os.open("/tmp", os.O_RDONLY), os.open("/usr", os.O_RDONLY)]
    supervisor.send(SERVE, fds)
    message, received = worker.receive()
    assert message == SERVE
    assert [os.fstat(fd).st_ino for fd in received] == [os.fstat(fd).st_ino for fd in fds]
    assert not any(os.get_inheritable(fd) for fd in received)
    for fd in [*fds, *received]:
        os.close(fd)
    worker.send(Ready(3, {"landlock": "abi 4"}))
    assert supervisor.receive() == (Ready(3, {"landlock": "abi 4"}), [])
    supervisor.send(Stop("test"))
    worker.send(Event("shutdown", "orderly"))
    assert worker.receive() == (Stop("test"), [])
    worker.send(Stopped(4))
    assert supervisor.receive() == (Event("shutdown", "orderly"), [])
    assert supervisor.receive() == (Stopped(4), [])
    assert (supervisor.state, worker.state) == (State.ENDED, State.ENDED)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (Status(), "Status is not permitted while new"),
        (Ready(1, {}), "Ready is sent by the worker"),
        (SERVE, "Serve carries"),
        (Stop("x" * MAX_MESSAGE), "too long"),
    ],
)
def test_what_may_not_be_sent_is_refused_before_it_leaves(
    ends: tuple[Channel, Channel], message: Message, complaint: str
) -> None:
    supervisor, worker = ends
    with pytest.raises(IllegalMessageError, match=complaint):
        supervisor.send(message)
    supervisor.close()
    with pytest.raises(ChannelClosedError):
        worker.receive()


@pytest.mark.parametrize(
    "data",
    [
        CODEC.encode(Status()),
        CODEC.encode(Ready(1, {})),
        CODEC.encode(SERVE),
        CODEC.encode(Failed("key", "no")),
        b"garbage",
        b"\0" * (MAX_MESSAGE + 1),
    ],
    ids=["state", "direction", "fds", "direction-2", "garbage", "oversize"],
)
def test_what_may_not_arrive_closes_the_channel(data: bytes) -> None:
    ours, theirs = Channel.pair()
    worker = Channel(theirs, Side.WORKER, State.NEW)
    with ours:
        ours.send(data)
        with pytest.raises(IllegalMessageError):
            worker.receive()
        assert worker.fileno() == -1
        assert ours.recv(1) == b""


@pytest.mark.parametrize("count", [1, 4, 9])
def test_unexpected_descriptors_do_not_leak(count: int) -> None:
    ours, theirs = Channel.pair()
    worker = Channel(theirs, Side.WORKER, State.SERVING)
    with ours:
        before = len(os.listdir("/proc/self/fd"))
        socket.send_fds(ours, [CODEC.encode(Status())], [ours.fileno()] * count)
        with pytest.raises(IllegalMessageError):
            worker.receive()
        assert len(os.listdir("/proc/self/fd")) == before - 1  # only the channel itself went


def test_end_of_the_peer_is_told(ends: tuple[Channel, Channel]) -> None:
    supervisor, worker = ends
    worker.close()
    with pytest.raises(ChannelClosedError):
        supervisor.receive()
    with pytest.raises(ChannelClosedError):
        supervisor.send(SERVE, [0, 0, 0])


def test_a_nonblocking_channel_says_that_nothing_is_there() -> None:
    ours, theirs = Channel.pair()
    ours.setblocking(False)
    supervisor = Channel(ours, Side.SUPERVISOR, State.ZYGOTE)
    zygote = Channel(theirs, Side.ZYGOTE, State.ZYGOTE)
    with pytest.raises(BlockingIOError):
        supervisor.receive()
    with ours, theirs:
        supervisor.send(Spawn(UUID_A, "web1"), [0])
        assert zygote.receive()[0] == Spawn(UUID_A, "web1")
        zygote.send(Spawned(42), [0])
        message, fds = supervisor.receive()
        assert message == Spawned(42)
        os.close(fds[0])


def test_the_table_names_every_message_and_reaches_every_state() -> None:
    assert {rule.then for rule in RULES.values()} - {None} == set(State) - {
        State.ZYGOTE,
        State.NEW,
    }
    for cls, rule in RULES.items():
        assert rule.states, cls
