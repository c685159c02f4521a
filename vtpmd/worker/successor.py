"""The successor's end of a succession: prepared first, then given the TPM of another worker."""

import os
import select
import socket
import time
from collections.abc import Callable, Sequence

from vtpmd.ipc.channel import Channel, ChannelClosedError
from vtpmd.ipc.messages import STATE_FDS, Detained, Prepared, Succeeded, Succession
from vtpmd.ipc.rules import Side, State
from vtpmd.storage.sealed import SealedState
from vtpmd.storage.wipe import wipe
from vtpmd.tpm.engine import Engine, Reply

from . import serving_lock, suspension
from .errors import DetainedError
from .instance import Instance
from .options import Listeners, Options
from .sandbox import Sandbox
from .server import Server
from .side import SideThread
from .sources import entropy, now
from .supervision import Supervision
from .suspension import Suspension

_LETS_GO = 1000  # milliseconds within which a predecessor has let go
_PAUSE = 0.01  # seconds

MakeOptions = Callable[[Succession], Options]


def succeed(
    sock: socket.socket,
    sandbox: Sandbox,
    supervision: Supervision,
    options: MakeOptions,
    ready: Callable[[int, int], None],
) -> None:
    """Go on with the TPM of the worker at the other end of `sock`, until the loop ends.

    `ready` is called with the generation, and for how many microseconds nobody served. Raises as
    `hosting.serve` and DetainedError: then the other worker goes on.
    """
    side: SideThread[Reply] = SideThread()
    sandbox.confine()
    side.start()
    sandbox.seal()
    channel = Channel(sock, Side.SUCCESSOR, State.AWAITED)
    channel.send(Prepared())
    succession, fds = channel.receive()
    if isinstance(succession, Detained):
        raise DetainedError(succession.reason)
    assert isinstance(succession, Succession)
    progress = fds.pop() if succession.idle else -1
    server, sealed = _resumed(succession, fds, side, supervision, options(succession))
    if succession.idle:
        server.get_up(channel, fds[0], progress, succession.idle)
    else:
        os.close(fds[0])
    try:
        channel.send(Succeeded())
    except ChannelClosedError:
        _demand_gone()
    if not succession.idle:
        _await_let_go(channel)
    ready(server.instance.generation, time.monotonic_ns() // 1000 - sealed)
    server.run()
    wipe(server.instance.execution.state.key.dek)


def _resumed(
    succession: Succession,
    fds: Sequence[int],
    side: SideThread[Reply],
    supervision: Supervision,
    options: Options,
) -> tuple[Server, int]:
    """A server that goes on where the predecessor has sealed its state, and when that was."""
    memory, *kept = fds[: STATE_FDS + 2]
    sockets = fds[STATE_FDS + 2 :]
    listening = 3 if succession.data else 2
    state = SealedState.of(kept[:STATE_FDS], options.uuid, succession.order.key)
    state.load()
    left = suspension.read(memory, state)
    if left.use.durable:
        state.trust()
    instance = Instance(_engine(left), state, supervision.report, max_locality=options.max_locality)
    listeners = Listeners(*(socket.socket(fileno=fd) for fd in sockets[:listening]))
    server = Server(instance, side, listeners, supervision, options, kept)
    server.resume(left.use, [socket.socket(fileno=fd) for fd in sockets[listening:]])
    return server, left.use.sealed


def _engine(left: Suspension) -> Engine:
    engine = Engine.restore(left.permanent, entropy, now)
    if left.use.running:
        engine.power_on(left.volatile, left.use.sealed // 1000)
    return engine


def _demand_gone() -> None:
    """Raise DetainedError if the predecessor lives, which hears nothing more from us.

    One that has ended after it had sealed all it had lets its lock go within a moment.
    """
    end = time.monotonic() + _LETS_GO / 1000
    while serving_lock.held_by_others():
        if time.monotonic() > end:
            raise DetainedError("it took too long to go on, so that the other worker does")
        time.sleep(_PAUSE)


def _await_let_go(channel: Channel) -> None:
    """Wait until the predecessor has no part in it any more, the serving lock included."""
    poller = select.poll()
    poller.register(channel, 0)
    poller.poll(_LETS_GO)
    channel.close()
