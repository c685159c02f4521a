"""Who has the control channel.

QEMU is recognised by its data descriptor: attaching one makes its control client the owner.

| channel | is so while | other control clients |
|---|---|---|
| free | there is no owner | are served side by side |
| owned | owner and data descriptor live | may ask (`ASKING`); all else is refused |

So no client is disconnected while QEMU starts slowly, and a second QEMU, of a copied domain, fails
at once. A data descriptor whose control connection is gone, or whose other end is, gives way to the
next SET_DATAFD; whether that is so is looked at before anybody is refused.
"""

import socket
from collections.abc import Callable
from typing import Final

from vtpmd.ipc.messages import NO_NUMBER
from vtpmd.linux.peers import peer_of
from vtpmd.swtpm.host import ControlError
from vtpmd.swtpm.table import Command, Result

from .clients import Client, Clients
from .control_client import ControlClient
from .data_client import DataClient
from .execution import Report
from .loop import Loop
from .options import Ending

ASKING: Final = frozenset(
    {
        Command.GET_CAPABILITY,
        Command.GET_TPMESTABLISHED,
        Command.GET_CONFIG,
        Command.GET_INFO,
    }
)
"""What any control client may send at any time: none of it changes or takes anything."""


class Ownership:
    """`close_doors` is called at a SHUTDOWN that ends the worker, `restart` at any other."""

    def __init__(
        self,
        loop: Loop,
        clients: Clients,
        report: Report,
        close_doors: Callable[[], None],
        restart: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._clients = clients
        self._report = report
        self._close_doors = close_doors
        self._restart = restart
        self.attached: DataClient | None = None
        clients.on_closed = self._closed

    @property
    def _owner(self) -> ControlClient | None:
        return self._clients.first

    def add(self, sock: socket.socket) -> None:
        """Serve a control connection."""
        self._clients.make_room([c for c in self._clients.controls if c is not self._owner])
        self._clients.add_control(sock, self)

    def suspend(self) -> tuple[int, int]:
        """Owner and its data descriptor, as they count among the clients from 1; 0 is none."""
        controls, datas = self._clients.controls, self._clients.datas
        owner = 1 + controls.index(self._owner) if self._owner in controls else 0
        return owner, 1 + datas.index(self.attached) if self.attached in datas else 0

    def resume(self, owner: int, attached: int) -> None:
        """Go on with the clients that these were for a predecessor, as `suspend` counts them."""
        controls, datas = self._clients.controls, self._clients.datas
        self._clients.put_first(controls[owner - 1] if owner else None)
        self.attached = datas[attached - 1] if attached else None

    def inherit(self, owner: ControlClient, attached: DataClient) -> None:
        """Go on with QEMU where a worker has crashed."""
        self._clients.put_first(owner)
        self.attached = attached

    @property
    def pair(self) -> tuple[ControlClient, DataClient] | None:
        """QEMU's connections; None while there is no owner."""
        owner, attached = self._owner, self.attached
        return None if owner is None or attached is None else (owner, attached)

    def permits(self, client: ControlClient, command: Command) -> bool:
        """Whether this client may send this command now."""
        return client is self._owner or command in ASKING or not self._owner_lives()

    def refused(self, client: ControlClient, command: Command) -> None:
        """Tell of a command that was not permitted, and whose the TPM is."""
        owner = "another client" if self._owner is None else str(peer_of(self._owner.socket))
        self._report(
            "client-refused", f"{command.name} of {peer_of(client.socket)}: {owner} has it"
        )

    def attach(self, client: ControlClient, data: socket.socket) -> None:
        """SET_DATAFD: `client` is QEMU. Raises ControlError while its last one is served."""
        if self.attached is not None and not self.attached.closed:
            if self._owner_lives():
                raise ControlError(Result.IOERROR)
            self._clients.close(self.attached)
        self._clients.put_first(client)
        self.attached = self._clients.add_descriptor(data, client.connection)
        self._report("client-connected", str(peer_of(client.socket)))

    @property
    def machine(self) -> int:
        """The process that has the channel, as the kernel names it; 0 if nobody has it."""
        if self._owner is None or not self._owner_lives():
            return 0
        return peer_of(self._owner.socket).pid or NO_NUMBER

    def shut_down(self, client: ControlClient) -> None:
        """SHUTDOWN, before it is answered: swtpm ends here, and is followed by another one.

        We part with this client and, as a rule, await the next.
        """
        client.closing = True
        if client is self._owner and self.attached is not None:
            self._clients.close(self.attached)
        self._clients.end_if(Ending.ON_SHUTDOWN)
        if self._loop.ending:
            self._close_doors()
        else:
            self._restart()

    def _owner_lives(self) -> bool:
        """Whether there is an owner that has not hung up."""
        owner, attached = self._owner, self.attached
        if owner is None or attached is None:
            return False
        return not any(end.closed or end.hung_up() for end in (owner, attached))

    def _closed(self, client: Client) -> None:
        if self._owner is not None and (client is self._owner or client is self.attached):
            self._clients.put_first(None)
            self._report("client-disconnected", "")
