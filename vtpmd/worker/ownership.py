"""Who has the control channel.

QEMU is recognised by its data descriptor: attaching one makes its control client the owner.

| channel | is so while | other control clients | new ones |
|---|---|---|---|
| free | there is no owner | are served side by side | are accepted |
| owned | owner and data descriptor live | are parked: not read | wait in the backlog |

So no client is disconnected while QEMU starts slowly. A data descriptor whose control connection is
gone, or whose other end is, gives way to the next SET_DATAFD.
"""

import selectors
import socket
from collections.abc import Callable

from vtpmd.linux.peers import peer_of
from vtpmd.swtpm.host import ControlError
from vtpmd.swtpm.table import Result

from .admission import Admission
from .clients import Client, Clients
from .control_client import ControlClient
from .data_client import DataClient
from .execution import Report
from .loop import Loop
from .options import Ending


class Ownership:
    """`restart` is called after a SHUTDOWN that does not end the worker."""

    def __init__(
        self,
        loop: Loop,
        clients: Clients,
        admission: Admission,
        listener: socket.socket | None,
        report: Report,
        restart: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._clients = clients
        self._admission = admission
        self._listener = listener
        self._report = report
        self._restart = restart
        self.attached: DataClient | None = None
        self._owner: ControlClient | None = None
        clients.on_closed = self._closed

    def add(self, sock: socket.socket) -> None:
        """Serve a control connection."""
        self._clients.add_control(sock, self)

    def suspend(self) -> tuple[int, int]:
        """Owner and its data descriptor, as they count among the clients from 1; 0 is none."""
        controls, datas = self._clients.controls, self._clients.datas
        owner = 1 + controls.index(self._owner) if self._owner in controls else 0
        return owner, 1 + datas.index(self.attached) if self.attached in datas else 0

    def resume(self, owner: int, attached: int) -> None:
        """Go on with the clients that these were for a predecessor, as `suspend` counts them."""
        controls, datas = self._clients.controls, self._clients.datas
        self._owner = controls[owner - 1] if owner else None
        self.attached = datas[attached - 1] if attached else None

    def attach(self, client: ControlClient, data: socket.socket) -> None:
        """SET_DATAFD: `client` is QEMU. Raises ControlError while another one is served."""
        if self.attached is not None and not self.attached.closed:
            if self._owned() and not self.attached.hung_up():
                raise ControlError(Result.IOERROR)
            self._clients.close(self.attached)
        self._owner = client
        self.attached = self._clients.add_descriptor(data, client.connection)
        self._report("client-connected", str(peer_of(client.socket)))
        self.review()

    def shut_down(self, client: ControlClient) -> None:
        """SHUTDOWN: swtpm ends here; we part with this client and, as a rule, await the next."""
        client.closing = True
        if client is self._owner and self.attached is not None:
            self._clients.close(self.attached)
        self._clients.end_if(Ending.ON_SHUTDOWN)
        if not self._loop.ending:
            self._restart()

    def review(self) -> None:
        """Park, accept and serve as it befits the channel now."""
        owned = self._owned()
        if not owned and self._owner is not None:
            self._owner = None
            self._report("client-disconnected", "")
        for client in self._clients.controls:
            client.parked = owned and client is not self._owner
            if not client.closed:
                self._clients.tend(client)
        if self._listener is not None:
            self._loop.watch(
                self._listener, 0 if owned else selectors.EVENT_READ, self._accept_control
            )

    def _owned(self) -> bool:
        return (
            self._owner is not None
            and not self._owner.closed
            and self.attached is not None
            and not self.attached.closed
        )

    def _closed(self, client: Client) -> None:
        if client is self._owner or client is self.attached:
            self.review()

    def _accept_control(self) -> None:
        assert self._listener is not None
        sock = self._admission.accept(self._listener)
        if sock is not None:
            self._clients.make_room(self._clients.controls)
            self.add(sock)
