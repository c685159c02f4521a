"""Channels: packets with descriptors, and the state table enforced at both ends."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import cbor2
import pytest

from tests.ipc.test_codec import BOMBS
from vtpmd.ipc import version
from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError, VersionError
from vtpmd.ipc.codec import MAX_MESSAGE
from vtpmd.ipc.messages import (
    Event,
    Failed,
    Message,
    Ready,
    Serve,
    Spawn,
    Spawned,
    Status,
    Stop,
    Stopped,
    ZygoteReady,
)
from vtpmd.ipc.rules import CODEC, RULES, Side, State
from vtpmd.ipc.version import PROTOCOL, Version, greeting
from vtpmd.linux.peers import Peer
from vtpmd.storage.key import Key

UUID_A = UUID(int=1)
SERVE = Serve(UUID_A, "web1", Key(bytearray(32), b"id", ()))


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
    paths = ("/", "/tmp", "/usr", "/bin", "/etc", "/proc")
    fds = [os.open(path, os.O_RDONLY) for path in paths]
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
        greeting(PROTOCOL),
        *BOMBS.values(),
    ],
    ids=["state", "direction", "fds", "direction-2", "garbage", "oversize", "again", *BOMBS],
)
def test_what_may_not_arrive_closes_the_channel(data: bytes) -> None:
    ours, theirs = Channel.pair()
    worker = Channel(theirs, Side.WORKER, State.NEW)
    with ours:
        ours.send(greeting(PROTOCOL))
        ours.send(data)
        with pytest.raises(IllegalMessageError):
            worker.receive()
        assert worker.fileno() == -1
        assert ours.recv(100) == greeting(PROTOCOL)
        assert ours.recv(1) == b""


@pytest.mark.parametrize("count", [1, 4, 9])
def test_unexpected_descriptors_do_not_leak(count: int) -> None:
    ours, theirs = Channel.pair()
    worker = Channel(theirs, Side.WORKER, State.SERVING)
    with ours:
        before = len(os.listdir("/proc/self/fd"))
        ours.send(greeting(PROTOCOL))
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
        supervisor.send(SERVE, [0] * 6)


def test_a_nonblocking_channel_says_that_nothing_is_there() -> None:
    ours, theirs = Channel.pair()
    ours.setblocking(False)
    supervisor = Channel(ours, Side.SUPERVISOR, State.WARMING)
    with pytest.raises(BlockingIOError):  # not even a greeting
        supervisor.receive()
    zygote = Channel(theirs, Side.ZYGOTE, State.WARMING)
    with pytest.raises(BlockingIOError):
        supervisor.receive()
    with ours, theirs:
        zygote.send(ZygoteReady(("default-v1",), ("sha256",)))
        assert supervisor.receive() == (ZygoteReady(("default-v1",), ("sha256",)), [])
        supervisor.send(Spawn(UUID_A, "web1"), [0])
        order, fds = zygote.receive()
        os.close(*fds)
        assert order == Spawn(UUID_A, "web1")
        zygote.send(Spawned(42), [0])
        message, fds = supervisor.receive()
        assert message == Spawned(42)
        os.close(fds[0])


def test_the_table_names_every_message_and_reaches_every_state() -> None:
    assert {rule.then for rule in RULES.values()} - {None} == set(State) - {
        State.WARMING,
        State.NEW,
        State.AWAITED,
        State.KEEPING,
        State.KEEPER_AWAITED,
    }
    for cls, rule in RULES.items():
        assert rule.states, cls


def test_the_greeting_never_changes() -> None:
    ours, theirs = Channel.pair()
    Channel(theirs, Side.WORKER, State.NEW)
    with ours, theirs:
        assert ours.recv(100).hex() == "7674706d64495043" + "0001" + "0000"


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        CODEC.encode(Stop("x")),
        greeting(PROTOCOL) + b"\0",
        greeting(PROTOCOL)[:-1],
        b"VTPMDIPC" + greeting(PROTOCOL)[8:],
    ],
    ids=["end", "message", "longer", "shorter", "magic"],
)
def test_whoever_does_not_greet_is_not_listened_to(packet: bytes) -> None:
    ours, theirs = Channel.pair()
    worker = Channel(theirs, Side.WORKER, State.SERVING)
    with ours:
        ours.send(packet)
        with pytest.raises(IllegalMessageError if packet else ChannelClosedError):
            worker.receive()
    worker.close()


def test_a_greeting_brings_no_descriptors() -> None:
    ours, theirs = Channel.pair()
    worker = Channel(theirs, Side.WORKER, State.SERVING)
    with ours:
        before = len(os.listdir("/proc/self/fd"))
        socket.send_fds(ours, [greeting(PROTOCOL)], [ours.fileno()] * 3)
        with pytest.raises(IllegalMessageError, match="begin with its version"):
            worker.receive()
        assert len(os.listdir("/proc/self/fd")) == before - 1


def test_a_newer_minor_version_is_understood_and_another_major_one_is_not() -> None:
    for theirs_version, understood in ((Version(1, 9), True), (Version(2, 0), False)):
        ours, theirs = Channel.pair()
        worker = Channel(theirs, Side.WORKER, State.SERVING)
        with ours:
            ours.send(greeting(theirs_version))
            ours.send(CODEC.encode(Status()))
            assert worker.meet() == theirs_version
            if understood:
                assert worker.receive() == (Status(), [])
                worker.close()
                continue
            with pytest.raises(VersionError, match=r"version 2\.0 of the protocol, not 1\.0"):
                worker.receive()
            assert worker.fileno() == -1


def test_both_ends_tell_their_version_even_if_they_do_not_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = Channel.pair()
    supervisor = Channel(ours, Side.SUPERVISOR, State.SERVING)
    monkeypatch.setattr(version, "PROTOCOL", Version(3, 1))
    worker = Channel(theirs, Side.WORKER, State.SERVING)
    with pytest.raises(VersionError):
        worker.receive()
    assert supervisor.meet() == Version(3, 1)
    supervisor.close()


def test_a_report_that_only_a_newer_version_knows_is_an_event() -> None:
    data = cbor2.dumps({"type": "Slept", "since": 1}, canonical=True)
    for side in (Side.SUPERVISOR, Side.WORKER):
        ours, theirs = Channel.pair()
        channel = Channel(theirs, side, State.SERVING)
        with ours:
            ours.send(greeting(PROTOCOL))
            ours.send(data)
            if side is Side.WORKER:
                with pytest.raises(IllegalMessageError, match="unknown message type"):
                    channel.receive()
                continue
            assert channel.receive() == (Event("unknown-report", "Slept"), [])
            ours.send(cbor2.dumps({"type": "x" * 65}, canonical=True))
            with pytest.raises(IllegalMessageError, match="unknown message type"):
                channel.receive()


def test_the_kernel_says_who_has_sent(short_path: Path) -> None:
    path = short_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        channel = Channel.connect(path, Side.SUPERVISOR, State.SERVING)
        child = os.fork()
        if child == 0:
            connection, _ = listener.accept()
            worker = Channel(connection, Side.WORKER, State.SERVING)
            worker.meet()
            worker.send(Event("shutdown", ""))
            os._exit(0)
        os.waitpid(child, 0)
        for receive in (channel.meet, channel.receive):
            receive()
            assert channel.sender == Peer(child, os.geteuid(), frozenset({os.getegid()}))
        channel.close()


def test_what_an_end_sent_is_received_though_it_closed_without_reading_all() -> None:
    ours, theirs = Channel.pair()
    worker = Channel(theirs, Side.WORKER, State.SERVING)
    supervisor = Channel(ours, Side.SUPERVISOR, State.SERVING)
    supervisor.send(Status())
    worker.send(Event("defect", "its last word"))
    worker.close()
    assert supervisor.receive() == (Event("defect", "its last word"), [])
    with pytest.raises(ChannelClosedError):
        supervisor.receive()
    supervisor.close()
