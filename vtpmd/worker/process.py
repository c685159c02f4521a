"""A worker's life: one order from the supervisor, the sandbox, then manufacture or serve."""

import contextlib
import os
import signal
import socket
import sys

from vtpmd.ipc.channel import Channel, ChannelClosed, IllegalMessage
from vtpmd.ipc.messages import (
    Failed,
    FailureKind,
    Manufacture,
    Manufactured,
    Ready,
    Serve,
    Side,
    State,
)
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.store import Store
from vtpmd.storage.wipe import wipe
from vtpmd.tpm.engine import Engine
from vtpmd.tpm.snapshot import StateError
from vtpmd.worker import hosting
from vtpmd.worker.instance import entropy, frames_of, now
from vtpmd.worker.peers import PeerPolicy
from vtpmd.worker.persist import Key, Persistence
from vtpmd.worker.sandbox import Sandbox, SandboxError
from vtpmd.worker.serve import Listeners, Options
from vtpmd.worker.supervision import Supervision

EXIT_FAILED = 1


class UnknownModel(Exception):
    """The order names a profile or PCR bank that the engine does not know."""


_ENVELOPE_FAILURES: dict[str, FailureKind] = {
    "newer": "newer",
    "wrong-instance": "wrong-instance",
    "wrong-key": "key",
}


def run(sock: socket.socket) -> int:
    """Follow the order that comes over ``sock``; the exit status. No secret ever goes to stderr."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the supervisor at the terminal
    channel = Channel(sock, Side.WORKER, State.NEW)
    try:
        message, fds = channel.receive()
    except (ChannelClosed, IllegalMessage):
        return EXIT_FAILED
    try:
        match message:
            case Manufacture():
                _manufacture(channel, message, *fds)
            case Serve():
                _serve(channel, message, *fds)
    except ChannelClosed:
        return EXIT_FAILED
    except Exception as error:
        kind, reason = _judge(error)
        if kind == "defect":
            print(f"vtpmd worker {os.getpid()}: {reason}", file=sys.stderr, flush=True)
        if channel.state in (State.MANUFACTURING, State.STARTING):
            with contextlib.suppress(ChannelClosed):
                channel.send(Failed(kind, reason))
        return EXIT_FAILED
    return 0


def _judge(error: Exception) -> tuple[FailureKind, str]:
    match error:
        case EnvelopeError():
            return _ENVELOPE_FAILURES.get(error.kind, "damaged"), str(error)
        case StateError():
            return ("newer" if error.kind == "newer" else "damaged"), str(error)
        case StorageError():
            return "storage", str(error)
        case SandboxError():
            return "sandbox", str(error)
        case UnknownModel():
            return "defect", str(error)
    return "defect", frames_of(error)


def _manufacture(channel: Channel, order: Manufacture, state_fd: int) -> None:
    sandbox = Sandbox(order.sandbox)
    sandbox.confine(state_fd)
    sandbox.seal()
    try:
        engine = Engine.manufacture(order.profile, order.pcr_banks, entropy, now)
    except ValueError as error:
        raise UnknownModel(str(error)) from None
    with Store(state_fd) as store:
        key = Key(order.dek, order.dek_id, order.slots)
        persistence = Persistence(store, order.uuid, key)
        persistence.create(engine.permanent())
    wipe(order.dek)
    channel.send(Manufactured(persistence.generation))


def _serve(channel: Channel, order: Serve, state_fd: int, *listening: int) -> None:
    sandbox = Sandbox(order.sandbox)
    supervision = Supervision(channel)

    def ready(generation: int) -> None:
        supervision.send(Ready(generation, sandbox.active))
        channel.set_blocking(False)

    hosting.serve(
        state_fd,
        Key(order.dek, order.dek_id, order.slots),
        sandbox,
        Listeners(*(_listener(fd) for fd in listening)),
        supervision,
        _options(order, sandbox),
        ready,
    )


def _options(order: Serve, sandbox: Sandbox) -> Options:
    return Options(
        uuid=order.uuid,
        name=order.name,
        sandbox=sandbox.active,
        peers=PeerPolicy(
            uids=frozenset(order.peer_uids),
            gids=frozenset(order.peer_gids),
            anybody=not order.check_peers,
        ),
        startup="clear" if order.startup else None,
        set_locality=order.set_locality,
    )


def _listener(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock
