"""The whole short life of a TPM that nobody keeps, so that all first times are over afterwards.

In the zygote: what is worked out on first use is there for every worker. In a blank worker: it has
the pages of its own that it is going to write to. The TPM has seeds of its own, its state is in
memory, and nobody's secret is here.
"""

import os
import selectors
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from uuid import UUID

from vtpmd.ipc.channel import Channel
from vtpmd.ipc.identity import ReadInstalled
from vtpmd.ipc.messages import STATE_FDS, Ready, Serve, Status, Stop
from vtpmd.ipc.rules import Side, State
from vtpmd.linux.descriptors import close_fds
from vtpmd.storage.envelope import DEK_ID_SIZE, DEK_SIZE, Header, seal
from vtpmd.storage.key import Key
from vtpmd.storage.slot import Slot
from vtpmd.storage.state_files import state_files_in_memory
from vtpmd.tpm.engine import Engine, Reply

from . import hosting
from .loop import HasFileno
from .process import listeners_of, options_of
from .sandbox import Sandbox
from .server import Server
from .side import SideThread
from .sources import entropy, now
from .supervision import Supervision

_PROFILE, _BANKS = "default-v1", ("sha256",)
_UUID = UUID(int=0)
_SLOT = Slot("none", "none", "none", "", "none", b"none", 0)
_CONTROL = (
    "00000001",  # CMD_GET_CAPABILITY
    "0000000e",  # CMD_STOP
    "0000001100001000",  # CMD_SET_BUFFERSIZE
    "0000000200000000",  # CMD_INIT
)
_ATTACH = "00000010"  # CMD_SET_DATAFD
_COMMANDS = (
    "80010000000c000001440000",  # TPM2_Startup(CLEAR)
    "8001000000160000017a000000060000010500000001",  # TPM2_GetCapability(TPM_PT_MANUFACTURER)
    "80010000000c0000017b0010",  # TPM2_GetRandom(16)
)
_QUESTIONS = Status(), ReadInstalled()
_ANSWER = 4096


class Rehearsal:
    """A TPM, which `run` lets live again and again."""

    def __init__(self) -> None:
        self._key = Key(bytearray(entropy(DEK_SIZE)), bytes(DEK_ID_SIZE), (_SLOT,))
        header = Header(_UUID, 1, "permanent", self._key.dek_id)
        engine = Engine.manufacture(_PROFILE, _BANKS, entropy, now)
        self._nvram = seal(self._key.dek, header, self._key.slots, engine.permanent())

    def run(self, sandbox: Sandbox | None = None) -> list[bytes]:
        """Serve it as ordered to a machine that starts, and stop it; what the machine was told.

        With a `sandbox`, which stays closed, in a process that ends then.
        """
        with ExitStack() as stack:
            ours, theirs = Channel.pair()
            supervisor = stack.enter_context(closing(Channel(ours, Side.SUPERVISOR, State.NEW)))
            channel = stack.enter_context(closing(Channel(theirs, Side.WORKER, State.NEW)))
            machine, client = map(stack.enter_context, socket.socketpair())
            data = tuple(map(stack.enter_context, socket.socketpair()))
            self._order(supervisor)
            order, fds = channel.receive()
            assert isinstance(order, Serve)
            stack.callback(close_fds, fds[: STATE_FDS + 1])
            listeners = listeners_of(fds)
            for each in filter(None, (listeners.control, listeners.adoption)):
                stack.enter_context(each)
            side: SideThread[Reply] = SideThread()
            stack.callback(side.close)
            if sandbox is not None:  # who forks has one thread
                sandbox.confine()
                side.start()
                sandbox.seal()
            server = hosting.prepare(
                fds[:STATE_FDS],
                order.key,
                side,
                replace(listeners, control_client=client),
                supervision := Supervision(channel),
                replace(options_of(order, {}), signals=()),
            )
            supervision.send(Ready(server.instance.generation))
            channel.set_blocking(False)
            answers: list[bytes] = []
            _accompany(server, _life(machine, data, supervisor, answers))
            server.run()
            return answers

    def _order(self, supervisor: Channel) -> None:
        """Order to serve it. The listeners are none that anybody could connect to."""
        files = state_files_in_memory(_UUID, self._nvram)
        lock = os.memfd_create("lock")
        try:
            control, adoption = socket.socketpair()
            with control, adoption:
                order = Serve(_UUID, "", self._key)
                supervisor.send(order, [*files, lock, control.fileno(), adoption.fileno()])
        finally:
            close_fds([*files, lock])


def _life(
    machine: socket.socket,
    data: Sequence[socket.socket],
    supervisor: Channel,
    answers: list[bytes],
) -> Iterator[HasFileno]:
    """What a machine that starts and a supervisor do, one step after the other.

    `data` is the machine's data channel, both ends. Yields who waits for an answer.
    """
    ours, theirs = data
    yield supervisor
    supervisor.receive()
    for request in _CONTROL:
        machine.sendall(bytes.fromhex(request))
        yield machine
        answers.append(machine.recv(_ANSWER))
    socket.send_fds(machine, [bytes.fromhex(_ATTACH)], [theirs.fileno()])
    yield machine
    answers.append(machine.recv(_ANSWER))
    for command in _COMMANDS:
        ours.sendall(bytes.fromhex(command))
        yield ours
        answers.append(ours.recv(_ANSWER))
    for question in _QUESTIONS:
        supervisor.send(question)
        yield supervisor
        supervisor.receive()
    supervisor.send(Stop("rehearsed"))
    yield supervisor


def _accompany(server: Server, life: Iterator[HasFileno]) -> None:
    """Let a life go on whenever it has got its answer, in the loop of who gives them."""

    def wait(awaited: HasFileno) -> None:
        def go_on() -> None:
            server.loop.forget(awaited)
            if (following := next(life, None)) is not None:
                wait(following)

        server.loop.watch(awaited, selectors.EVENT_READ, go_on)

    wait(next(life))
