"""A real zygote, real workers and plain clients for tests: the supervisor's part, in small."""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from tests.state_files import content_of, envelope_of
from vtpmd.ipc.channel import Channel
from vtpmd.ipc.messages import (
    Event,
    Failed,
    GivesWay,
    GiveWay,
    Manufacture,
    Message,
    Ready,
    Serve,
    Spawn,
    Spawned,
    Status,
    StatusReply,
    Stop,
    Stopped,
    Stored,
    Succeed,
)
from vtpmd.ipc.rules import Side, State
from vtpmd.storage.envelope import Envelope
from vtpmd.storage.key import Key
from vtpmd.storage.record import Role
from vtpmd.storage.sealed import SealedState
from vtpmd.storage.slot import Slot
from vtpmd.storage.state_files import create_state_files, opened_files

ZYGOTE = [sys.executable, "-m", "vtpmd.worker.zygote"]
DEADLINE = 60.0
INSTANCE = UUID("6f1f7f5e-0d0b-4b8e-9a53-2f5a44f3b001")
DEK_ID = bytes(range(16))
SLOTS = (Slot("local", "local", "kek", "1", "A256GCM", b"wrapped", 1, "primary"),)

M = TypeVar("M")


def dek() -> bytearray:
    return bytearray(b"\x5a" * 32)


def make_key() -> Key:
    return Key(dek(), DEK_ID, SLOTS)


def wait_for(condition: Callable[[], object]) -> None:
    """Poll until `condition` is true; fail after the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "deadline passed"
        select.select([], [], [], 0.005)


class WorkerProcess:
    """A forked worker, seen from its supervisor's end of the channel."""

    def __init__(self, channel: Channel, pid: int, pidfd: int) -> None:
        self.channel = channel
        self.pid = pid
        self.pidfd = pidfd
        self.events: list[Event] = []

    def ask(self, request: Message, answer: type[M], fds: list[int] | None = None) -> M:
        self.channel.send(request, fds or [])
        return self.receive(answer)

    def receive(self, answer: type[M]) -> M:
        """The next message that is no event; it must be an `answer`."""
        while True:
            assert select.select([self.channel], [], [], DEADLINE)[0], "no answer"
            message, _ = self.channel.receive()
            if not isinstance(message, Event):
                assert isinstance(message, answer), message
                return message
            self.events.append(message)

    def event(self, kind: str) -> Event:
        """Wait for an event of this kind; earlier ones count."""
        while True:
            for event in self.events:
                if event.kind == kind:
                    self.events.remove(event)
                    return event
            assert select.select([self.channel], [], [], DEADLINE)[0], f"no event {kind}"
            message, _ = self.channel.receive()
            assert isinstance(message, Event), message
            self.events.append(message)

    def status(self) -> StatusReply:
        return self.ask(Status(), StatusReply)

    def stop(self) -> int:
        """Stop it in order; the generation it ended with."""
        generation = self.ask(Stop("test"), Stopped).generation
        self.wait_until_ended()
        return generation

    def wait_until_ended(self) -> None:
        assert select.select([self.pidfd], [], [], DEADLINE)[0], "the worker did not end"

    def kill(self) -> None:
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self.wait_until_ended()

    def close(self) -> None:
        if not select.select([self.pidfd], [], [], 0)[0]:
            self.kill()
        self.channel.close()
        os.close(self.pidfd)


class Zygote:
    """A zygote process and the channel to it."""

    def __init__(self, stderr: int | None = None) -> None:
        ours, theirs = Channel.pair()
        with theirs:
            self.process = subprocess.Popen(
                [*ZYGOTE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=[theirs.fileno()],
            )
        self.channel = Channel(ours, Side.SUPERVISOR, State.WARMING)
        self.models, _ = self.channel.receive()

    def spawn(self, name: str = "web1") -> WorkerProcess:
        ours, theirs = Channel.pair()
        with theirs:
            self.channel.send(Spawn(INSTANCE, name), [theirs.fileno()])
        assert select.select([self.channel], [], [], DEADLINE)[0], "the zygote does not answer"
        message, fds = self.channel.receive()
        assert isinstance(message, Spawned), message
        return WorkerProcess(Channel(ours, Side.SUPERVISOR, State.NEW), message.pid, fds[0])

    def close(self) -> None:
        self.channel.close()
        assert self.process.wait(DEADLINE) == 0


@dataclass
class Host:
    """One instance's directory and sockets below `root`."""

    zygote: Zygote
    root: Path
    uuid: UUID = INSTANCE
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def control_path(self) -> Path:
        return self.root / "web1.sock.ctrl"

    @property
    def data_path(self) -> Path:
        return self.root / "web1.sock"

    @property
    def adoption_path(self) -> Path:
        return self.root / "adoption"

    def spawn(self) -> WorkerProcess:
        worker = self.zygote.spawn()
        self.workers.append(worker)
        return worker

    def manufacture(self, banks: tuple[str, ...] = ("sha256",), profile: str = "default-v1") -> int:
        prepare(self.state, self.uuid)
        order = Manufacture(self.uuid, "web1", profile, banks, make_key())
        worker = self.spawn()
        with files(self.state) as fds:
            generation = worker.ask(order, Stored, fds).generation
        worker.wait_until_ended()
        return generation

    def forget(self) -> None:
        """Let its state be as if there had never been one."""
        with directory(self.state) as fd:
            create_state_files(fd, self.uuid, replace=True)

    def stored(self, role: Role = "nvram") -> bytes | None:
        """What a state file holds."""
        return content_of(self.state / role, self.uuid)

    def envelope(self, role: Role = "nvram") -> Envelope:
        return envelope_of(self.state / role, self.uuid)

    def serve(self, *, data: bool = True, **options: object) -> WorkerProcess:
        worker, answer = self.try_to_serve((), data=data, **options)
        assert isinstance(answer, Ready), answer
        return worker

    def inherit(self, left: Sequence[int]) -> WorkerProcess:
        """Serve with what a worker that crashed has left."""
        worker, answer = self.try_to_serve(left, inherits=True)
        assert isinstance(answer, Ready), answer
        return worker

    def try_to_serve(
        self, left: Sequence[int] = (), *, data: bool = True, **options: object
    ) -> tuple[WorkerProcess, Ready | Failed]:
        fields: dict[str, object] = {
            "uuid": self.uuid,
            "name": "web1",
            "key": make_key(),
            **options,
        }
        worker = self.spawn()
        kinds = [(self.control_path, socket.SOCK_STREAM), (self.adoption_path, _SEQPACKET)]
        kinds += [(self.data_path, socket.SOCK_STREAM)] if data else []
        with files(self.state) as state, lock(self.state) as claim:
            listeners = [_listen(path, kind) for path, kind in kinds]
            fds = [*state, claim, *(listener.fileno() for listener in listeners), *left]
            answer = worker.ask(Serve(**fields), Ready | Failed, fds)  # type: ignore[arg-type]
            for listener in listeners:
                listener.close()
        return worker, answer

    def succeed(self, predecessor: WorkerProcess, **options: object) -> WorkerProcess:
        """A worker that has gone on with what the predecessor served."""
        worker, answer = self.try_to_succeed(predecessor, **options)
        assert isinstance(answer, Ready), answer
        predecessor.wait_until_ended()
        return worker

    def try_to_succeed(
        self, predecessor: WorkerProcess, **options: object
    ) -> tuple[WorkerProcess, Ready | Failed]:
        worker = self.spawn()
        with way(predecessor) as end:
            order = Succeed(self.uuid, "web1", **options)  # type: ignore[arg-type]
            answer = worker.ask(order, Ready | Failed, [end.fileno()])  # type: ignore[arg-type]
            return worker, answer

    def close(self) -> None:
        for worker in self.workers:
            worker.close()


_SEQPACKET = socket.SOCK_SEQPACKET


@contextmanager
def way(predecessor: WorkerProcess) -> Iterator[socket.socket]:
    """The successor's end of a channel to a worker that gives way."""
    theirs, ours = Channel.pair()
    memory = os.memfd_create("suspended")
    with ours:
        with theirs:
            predecessor.ask(GiveWay(), GivesWay, [theirs.fileno(), memory])
        os.close(memory)
        yield ours


@contextmanager
def directory(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def prepare(path: Path, uuid: UUID = INSTANCE) -> None:
    """Make a directory of empty state files, unless there is one."""
    if not path.exists():
        path.mkdir(mode=0o700)
        with directory(path) as fd:
            create_state_files(fd, uuid)


@contextmanager
def opened(path: Path, key: Key | None = None, uuid: UUID = INSTANCE) -> Iterator[SealedState]:
    """The state in new files of a directory, in this process."""
    path.mkdir(mode=0o700, exist_ok=True)
    with directory(path) as fd:
        create_state_files(fd, uuid)
    with files(path) as fds:
        yield SealedState.of(fds, uuid, key or make_key())


@contextmanager
def files(path: Path) -> Iterator[list[int]]:
    """The descriptors of the state files in a directory, for a worker."""
    with directory(path) as fd, opened_files(fd) as fds:
        yield fds


@contextmanager
def lock(path: Path) -> Iterator[int]:
    fd = os.open(path / "lock", os.O_RDONLY | os.O_CREAT, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _listen(path: Path, kind: socket.SocketKind) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(str(path))
    listener.listen()
    return listener


def connect(path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.settimeout(DEADLINE)
    sock.connect(str(path))
    return sock


def transact(sock: socket.socket, request: bytes, length: int) -> bytes:
    """Send, and read a response of this length in one read, as tpm2-tss does."""
    sock.sendall(request)
    response = sock.recv(length + 1)
    assert len(response) == length, response[:32].hex()
    return response


def control(sock: socket.socket, command: int, body: bytes = b"", length: int = 4) -> bytes:
    return transact(sock, struct.pack(">I", command) + body, length)


def get_blob(sock: socket.socket, kind: int, offset: int = 0) -> bytes:
    """CMD_GET_STATEBLOB from `offset` to the end."""
    sock.sendall(struct.pack(">IIII", 0x0C, 1, kind, offset))
    response = sock.recv(16, socket.MSG_WAITALL)
    result, flags, total, length = struct.unpack(">IIII", response)
    assert (result, flags, total) == (0, 2, length)
    return sock.recv(length, socket.MSG_WAITALL) if length else b""


def tpm(sock: socket.socket, command: str) -> bytes:
    """Send a TPM command (hexadecimal) and read its whole response in one read."""
    sock.sendall(bytes.fromhex(command))
    response = sock.recv(8192)
    assert len(response) == int.from_bytes(response[2:6]), response.hex()
    return response


class Qemu:
    """The control connection and data descriptor that QEMU sets up, and its start sequence."""

    def __init__(self, path: Path) -> None:
        self.control = connect(path)
        self.data, theirs = socket.socketpair()
        self.data.settimeout(DEADLINE)
        with theirs:
            socket.send_fds(self.control, [struct.pack(">I", 0x10)], [theirs.fileno()])
        self.attached = self.control.recv(4)

    def start(self) -> None:
        assert self.attached == bytes(4)
        assert tpm(self.data, READ_CLOCK)[:2] == b"\x80\x01"
        assert control(self.control, 0x01, length=8) == bytes.fromhex("000000000001ffff")
        self.reset()

    def reset(self) -> None:
        """What every machine reset sends."""
        assert control(self.control, 0x0E) == bytes(4)
        sizes = control(self.control, 0x11, bytes(4), 16)
        assert sizes == struct.pack(">IIII", 0, 4096, 2808, 4096)
        assert control(self.control, 0x0E) == bytes(4)
        assert control(self.control, 0x11, struct.pack(">I", 4096), 16) == sizes
        assert control(self.control, 0x02, bytes(4)) == bytes(4)

    def close(self) -> None:
        self.control.close()
        self.data.close()

    def __enter__(self) -> "Qemu":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


READ_CLOCK = "80010000000a00000181"
STARTUP_CLEAR = "80010000000c000001440000"
STARTUP_STATE = "80010000000c000001440001"
SHUTDOWN_STATE = "80010000000c000001450001"
SHUTDOWN_CLEAR = "80010000000c000001450000"
GET_RANDOM_16 = "80010000000c0000017b0010"
FAILURE = "80010000000a00000101"
SUCCESS = "80010000000a00000000"
