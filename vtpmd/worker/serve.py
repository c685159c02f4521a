"""The worker's loop: one thread, one selector, every client of one TPM.

Who may use the control channel
-------------------------------
QEMU is recognised by its data descriptor. While the client that attached one is connected and the
descriptor lives, that client has the TPM to itself: other control clients are not read, new ones
wait in the backlog. Without such an owner up to ``_MAX_CLIENTS`` clients are served side by side,
each command by itself; when that many sit there, a newcomer takes the place of the one that has
been silent longest. So nobody is turned out while QEMU starts slowly, and nobody can lock others
out by saying nothing. A data descriptor whose control connection is gone, or whose other end is,
gives way to the next SET_DATAFD.

Long commands
-------------
run on the side thread. Meanwhile control requests that don't touch the engine are answered, the
others wait their turn; INIT, STOP and SHUTDOWN cancel the command first.
"""

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import Side, State, StatusReply
from vtpmd.linux.peers import PeerPolicy, peer_of
from vtpmd.swtpm.control import ControlError
from vtpmd.swtpm.data import DataRequest
from vtpmd.swtpm.table import Result, Turn
from vtpmd.tpm.engine import Reply

from .clients import ControlClient, DataClient
from .connection import close_fds
from .instance import Instance, now
from .options import Ending, Listeners, Options
from .side import SideThread
from .supervision import Supervision

_MAX_CLIENTS = 16
_MAX_CANDIDATES = 4
_CANCEL_AGAIN = 0.02

Client = ControlClient | DataClient


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class Server:
    """Serves one instance until it is told to end."""

    def __init__(
        self,
        instance: Instance,
        side: SideThread[Reply],
        listeners: Listeners,
        supervision: Supervision,
        options: Options,
    ) -> None:
        self.instance = instance
        self.set_locality = options.set_locality
        self.disconnect = options.disconnect
        self._side = side
        self._listeners = listeners
        self._supervision = supervision
        supervision.on_detach = self._forget
        self._options = options
        self._selector = selectors.DefaultSelector()
        self._watched: dict[_HasFileno | int, int] = {}
        self._controls: list[ControlClient] = []
        self._datas: list[DataClient] = []
        self._candidates: list[Channel] = []
        self._attached: DataClient | None = None
        self._owner: ControlClient | None = None
        self._job: tuple[DataClient, DataRequest] | None = None
        self._since = now()
        self._ending = False
        self._ended = False

    # --- the loop ---------------------------------------------------------------------------

    def start_up(self) -> None:
        """Power the TPM on as ``Options.startup`` asks. Raises ControlError."""
        if self._options.startup is None:
            return
        code = self.instance.start_up(self._options.startup)
        if code:
            detail = f"TPM2_Startup({self._options.startup.upper()}): response code {code:#x}"
            self._supervision.report("startup-refused", detail)

    def run(self) -> None:
        """Serve until Stop, a signal or ``Options.ending``; then the state is durable."""
        with _signals(self._options.signals, self._request_end) as wake:
            self._watch(wake, selectors.EVENT_READ, lambda: _drain(wake))
            self._watch(self._side, selectors.EVENT_READ, self._finish_long)
            if self._listeners.reattach is not None:
                self._watch(self._listeners.reattach, selectors.EVENT_READ, self._accept_supervisor)
            if self._listeners.data is not None:
                self._watch(self._listeners.data, selectors.EVENT_READ, self._accept_data)
            if self._listeners.control_client is not None:
                self._add_control(self._listeners.control_client)
            if self._listeners.data_client is not None:
                self._add_data(self._listeners.data_client)
            self._review_ownership()
            while not self._ended:
                self._watch_supervision()
                for key, _ in self._selector.select(self._timeout()):
                    key.data()
                self._expire()
                if self._ending and self.free_for(Turn.CANCELS):
                    self.instance.stop()
                    self.end()
        for client in self._clients():
            client.close()
        self._selector.close()

    def _request_end(self) -> None:
        self._ending = True

    def _watch(self, what: _HasFileno | int, events: int, callback: Callable[[], None]) -> None:
        """Wait for exactly ``events`` of ``what`` from now on."""
        watched = self._watched.get(what, 0)
        if watched == events:
            return
        if not watched:
            self._selector.register(what, events, callback)
        elif events:
            self._selector.modify(what, events, callback)
        else:
            self._selector.unregister(what)
        self._watched[what] = events

    def _forget(self, what: _HasFileno | int) -> None:
        """Stop waiting for something whose descriptor is, or is about to be, free for another."""
        if self._watched.pop(what, 0):
            self._selector.unregister(what)

    def _timeout(self) -> float | None:
        deadlines = [client.deadline for client in self._clients() if client.deadline is not None]
        if self._job is not None and self.instance.canceling:
            deadlines.append(time.monotonic() + _CANCEL_AGAIN)
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _expire(self) -> None:
        if self._job is not None and self.instance.canceling:
            self.instance.cancel()  # the first may have come before the command had begun
        for client in self._clients():
            if client.deadline is not None and client.deadline <= time.monotonic():
                client.expire(time.monotonic())
                self._tend(client)

    def _clients(self) -> list[Client]:
        return [*self._controls, *self._datas]

    # --- clients ----------------------------------------------------------------------------

    def _accept_control(self) -> None:
        assert self._listeners.control is not None
        sock = self._accept(self._listeners.control)
        if sock is not None:
            self._make_room(self._controls)
            self._add_control(sock)

    def _add_control(self, sock: socket.socket) -> None:
        client = ControlClient(self, sock, time.monotonic())
        self._controls.append(client)
        self._tend(client)

    def _accept_data(self) -> None:
        assert self._listeners.data is not None
        sock = self._accept(self._listeners.data)
        if sock is not None:
            self._make_room([client for client in self._datas if client is not self._attached])
            self._add_data(sock)

    def _add_data(self, sock: socket.socket) -> DataClient:
        client = DataClient(self, sock, time.monotonic())
        self._datas.append(client)
        self._tend(client)
        return client

    def _accept_supervisor(self) -> None:
        assert self._listeners.reattach is not None
        sock = self._accept(self._listeners.reattach, PeerPolicy())
        if sock is None:
            return
        if len(self._candidates) == _MAX_CANDIDATES:
            self._dismiss(self._candidates[0])
        sock.setblocking(False)
        candidate = Channel(sock, Side.WORKER, State.SERVING)
        self._candidates.append(candidate)
        self._watch(candidate, selectors.EVENT_READ, lambda: self._hear(candidate))

    def _hear(self, candidate: Channel) -> None:
        """Whoever connected speaks: a supervisor takes the old one's place, others must go."""
        try:
            message, fds = candidate.receive()
        except BlockingIOError:
            return
        except (ChannelClosedError, IllegalMessageError):
            self._dismiss(candidate)
            return
        close_fds(fds)
        self._candidates.remove(candidate)
        self._forget(candidate)
        self._supervision.adopt(candidate, message, self)

    def _dismiss(self, candidate: Channel) -> None:
        self._candidates.remove(candidate)
        self._forget(candidate)
        candidate.close()

    def _accept(
        self, listener: socket.socket, policy: PeerPolicy | None = None
    ) -> socket.socket | None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return None  # it went away again, or we are out of descriptors
        peer = peer_of(sock)
        if not (policy or self._options.peers).permits(peer):
            self._supervision.report("client-refused", str(peer))
            sock.close()
            return None
        return sock

    def _make_room(self, clients: Sequence[Client]) -> None:
        idle = [client for client in clients if self._job is None or client is not self._job[0]]
        if len(clients) >= _MAX_CLIENTS and idle:
            oldest = min(idle, key=lambda client: client.last_heard)
            oldest.close()
            self._tend(oldest)

    def _tend(self, client: Client) -> None:
        """After anything that may have changed a client: wait for the right thing, or forget it."""
        if not client.closed:
            self._watch(client, client.events, lambda: self._serve(client))
            return
        self._forget(client)
        if isinstance(client, ControlClient) and client in self._controls:
            self._controls.remove(client)
            self._end_if(Ending.ON_CONTROL_CLOSED)
        if isinstance(client, DataClient) and client in self._datas:
            self._datas.remove(client)
            self._end_if(Ending.ON_DATA_CLOSED)
        if client is self._owner or client is self._attached:
            self._review_ownership()

    def _serve(self, client: Client) -> None:
        if not client.closed:
            client.ready(time.monotonic())
        self._tend(client)

    # --- who owns the control channel -------------------------------------------------------

    def attach(self, client: ControlClient, data: socket.socket) -> None:
        """SET_DATAFD: ``client`` is QEMU. Raises ControlError while another one is served."""
        if self._attached is not None and not self._attached.closed:
            if self._owned() and not self._attached.hung_up():
                raise ControlError(Result.IOERROR)
            self._attached.close()
            self._tend(self._attached)
        self._owner, self._attached = client, self._add_data(data)
        self._supervision.report("client-connected", str(peer_of(client.socket)))
        self._review_ownership()

    def shut_down(self, client: ControlClient) -> None:
        """SHUTDOWN: swtpm ends here; we part with this client and, as a rule, await the next."""
        client.closing = True
        if client is self._owner and self._attached is not None:
            self._attached.close()
            self._tend(self._attached)
        self._end_if(Ending.ON_SHUTDOWN)
        if not self._ending:
            self.start_up()

    def _end_if(self, reason: Ending) -> None:
        if reason in self._options.ending:
            self._request_end()

    def _owned(self) -> bool:
        return (
            self._owner is not None
            and not self._owner.closed
            and self._attached is not None
            and not self._attached.closed
        )

    def _review_ownership(self) -> None:
        owned = self._owned()
        if not owned and self._owner is not None:
            self._owner = None
            self._supervision.report("client-disconnected", "")
        for client in self._controls:
            client.parked = owned and client is not self._owner
            if not client.closed:
                self._watch(client, client.events, partial(self._serve, client))
        if self._listeners.control is not None:
            self._watch(
                self._listeners.control,
                0 if owned else selectors.EVENT_READ,
                self._accept_control,
            )

    # --- long commands ----------------------------------------------------------------------

    def free_for(self, turn: Turn) -> bool:
        """Whether a request may be handled now; one that cancels makes its turn come soon."""
        if self._job is None or turn is Turn.AT_ONCE:
            return True
        if turn is Turn.CANCELS:
            self.instance.cancel()
        return False

    def run_long(self, client: DataClient, request: DataRequest) -> None:
        """Execute on the side thread; ``prepare`` has been called."""
        self._job = (client, request)
        self.instance.canceling = False
        self._side.submit(partial(self.instance.run, request.command))

    def _finish_long(self) -> None:
        assert self._job is not None
        client, request = self._job
        response = self.instance.settle(self._side.outcome())
        self._job = None
        if not client.closed:
            client.respond(request, response)
        self._supervision.pump(self)
        for waiting in self._clients():
            waiting.pump()
            self._tend(waiting)

    # --- the supervisor ---------------------------------------------------------------------

    def status(self) -> StatusReply:
        return StatusReply(
            uuid=self._options.uuid,
            name=self._options.name,
            generation=self.instance.generation,
            tpm=self.instance.power,
            clients=len(self._clients()),
            sandbox=self._options.sandbox,
            since=self._since,
            commands=self.instance.commands,
            storage=self.instance.storage,
        )

    def end(self) -> None:
        """Leave the loop; the instance is powered off and durable."""
        self._ended = True

    def _watch_supervision(self) -> None:
        channel = self._supervision.channel
        if channel is not None:
            self._watch(channel, self._supervision.events, lambda: self._supervision.ready(self))


@contextlib.contextmanager
def _signals(
    numbers: tuple[signal.Signals, ...], on_terminate: Callable[[], None]
) -> Iterator[int]:
    """Each of these signals calls ``on_terminate`` and makes the yielded descriptor readable."""
    wake, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in numbers:
        signal.signal(number, lambda *_: on_terminate())
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield wake
    finally:
        signal.set_wakeup_fd(-1)
        os.close(wake)
        os.close(writer)


def _drain(wake: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(wake, 512)
