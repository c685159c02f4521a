"""A worker's life: one order from the supervisor, which is soon done or to serve a TPM."""

import contextlib
import signal
import socket
from collections.abc import Sequence
from functools import partial

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import STATE_FDS, Failed, FailureKind, Message, Ready, Serve, Succeed
from vtpmd.ipc.rules import BEQUEST_FDS, Side, State
from vtpmd.linux.descriptors import close_fds
from vtpmd.linux.hardening import forbid_tracing
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.tpm.engine import IdentityError, StateError

from . import hosting, inheritance, orders, successor
from .admission import policy_of
from .errors import EXIT_FAILED, DetainedError, SandboxError, UnknownModelError, frames_of
from .options import Listeners, Options
from .possession import AWAITED
from .sandbox import Sandbox
from .supervision import Supervision

_ENVELOPE_FAILURES: dict[str, FailureKind] = {
    "newer": "newer",
    "wrong-instance": "wrong-instance",
    "wrong-key": "key",
}


def run(sock: socket.socket) -> int:
    """Follow the order that comes over `sock`; the exit status.

    What is worth telling goes over the channel: this process has no log of its own.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the supervisor at the terminal
    forbid_tracing()  # before the order brings a key
    channel = Channel(sock, Side.WORKER, State.NEW)
    supervision = Supervision(channel)
    try:
        message, fds = channel.receive()
    except (ChannelClosedError, IllegalMessageError):
        return EXIT_FAILED
    try:
        match message:
            case Serve():
                _serve(channel, supervision, message, fds)
            case Succeed():
                _succeed(channel, supervision, message, fds)
            case _:
                channel.send(orders.carry_out(message, fds, partial(_ask, channel)))
    except ChannelClosedError:
        return EXIT_FAILED
    except Exception as error:
        kind, reason = _judge(error)
        if channel.state in (State.ORDERED, State.STARTING):
            with contextlib.suppress(ChannelClosedError):
                channel.send(Failed(kind, reason))
        else:
            supervision.report("defect", f"the worker ends: {reason}")
        return EXIT_FAILED
    return 0


def _ask(channel: Channel, report: Message) -> Message:
    channel.send(report)
    order, fds = channel.receive()
    close_fds(fds)
    return order


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
        case IdentityError():
            return "certificates", str(error)
        case UnknownModelError():
            return "model", str(error)
        case DetainedError():
            return "busy", str(error)
    return "defect", frames_of(error)


def _serve(channel: Channel, supervision: Supervision, order: Serve, fds: Sequence[int]) -> None:
    sandbox = Sandbox(order.sandbox)

    def ready(generation: int) -> None:
        supervision.send(Ready(generation, sandbox.active))
        channel.set_blocking(False)

    hosting.serve(
        fds[: STATE_FDS + 1],
        order.key,
        sandbox,
        listeners_of(fds, inherits=order.inherits),
        supervision,
        options_of(order, sandbox.active),
        ready,
    )


def _succeed(
    channel: Channel, supervision: Supervision, order: Succeed, fds: Sequence[int]
) -> None:
    sandbox = Sandbox(order.sandbox)

    def ready(generation: int, pause: int) -> None:
        supervision.send(Ready(generation, sandbox.active, pause))
        if supervision.channel is not None:
            channel.set_blocking(False)

    successor.succeed(
        socket.socket(fileno=fds[0]),
        sandbox,
        supervision,
        lambda succession: options_of(succession.order, sandbox.active),
        ready,
    )


def listeners_of(fds: Sequence[int], *, inherits: bool = False) -> Listeners:
    """Those that came with an order to serve, behind the state files and the instance's lock.

    The lock stays open as long as this process lives. `inherits`: as the order says.
    """
    end = len(fds) - BEQUEST_FDS if inherits else len(fds)
    listeners = [socket.socket(fileno=fd) for fd in fds[STATE_FDS + 1 : end]]
    for each in listeners:
        each.setblocking(False)
    left = inheritance.inherited(fds[end:]) if inherits else None
    return Listeners(*listeners, inheritance=left)


def options_of(order: Serve, sandbox: dict[str, str]) -> Options:
    """What an order to serve says about how; `sandbox` tells what is active."""
    return Options(
        uuid=order.uuid,
        name=order.name,
        sandbox=sandbox,
        peers=policy_of(order),
        startup="clear" if order.startup else None,
        set_locality=order.set_locality,
        handover=order.handover,
        absent=AWAITED if order.incoming else "",
    )
