"""All clients of one worker: added, served, timed out, replaced.

Up to `MAX_CLIENTS` of a kind are served side by side, one command at a time; a further client
replaces the one that has been silent longest, so that idle clients cannot lock others out.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial

from vtpmd.ipc.rules import MAX_CLIENTS
from vtpmd.linux.peers import peer_of
from vtpmd.swtpm.host import Connection
from vtpmd.tpm.engine import Reply

from .aside import Aside
from .control_client import Attachment, ControlClient
from .data_client import DataClient, Dialect
from .drops import Drops
from .instance import Instance
from .long_commands import LongCommands
from .loop import HasFileno, Loop
from .options import Ending, Options
from .side import SideThread

_RAW = Dialect(extensions=False)

Client = ControlClient | DataClient


class Clients:
    """`on_closed` is called with each client that is gone.

    Control clients are served `aside`, except `first`.
    """

    def __init__(
        self,
        loop: Loop,
        aside: Aside,
        instance: Instance,
        side: SideThread[Reply],
        options: Options,
    ) -> None:
        self._loop = loop
        self._aside = aside
        self._instance = instance
        self._ending = options.ending
        self._listener_dialect = Dialect(True, options.set_locality, options.disconnect)
        self.drops = Drops(instance.execution.report)
        self.long_commands: LongCommands[DataClient] = LongCommands(instance.execution, side)
        self.controls: list[ControlClient] = []
        self.datas: list[DataClient] = []
        self.first: ControlClient | None = None
        self.on_closed: Callable[[Client], None] = lambda client: None

    def all(self) -> list[Client]:
        return [*self.controls, *self.datas]

    def add_control(
        self, sock: socket.socket, attachment: Attachment, connection: Connection | None = None
    ) -> ControlClient:
        """Serve a connection of the control listener; `connection`: it was served before."""
        client = ControlClient(
            sock,
            time.monotonic(),
            self.long_commands,
            self._instance.execution.note_defect,
            self._instance,
            attachment,
            self.drops.of(str(peer_of(sock))),
            connection,
            self._instance.observer,
        )
        self.controls.append(client)
        self._begin(client)
        return client

    def add_data(self, sock: socket.socket) -> DataClient:
        """Serve a connection of the data listener."""
        return self._add_data(sock, self._listener_dialect)

    def add_descriptor(self, sock: socket.socket, connection: Connection) -> DataClient:
        """Serve the descriptor of SET_DATAFD: raw TPM commands and nothing else."""
        return self._add_data(sock, _RAW, connection)

    def _add_data(
        self, sock: socket.socket, dialect: Dialect, connection: Connection | None = None
    ) -> DataClient:
        client = DataClient(
            sock,
            time.monotonic(),
            self.long_commands,
            self._instance,
            dialect,
            self.drops.of(str(peer_of(sock))),
            connection,
            self._instance.observer,
        )
        self.datas.append(client)
        self._begin(client)
        return client

    def _begin(self, client: Client) -> None:
        client.on_close = self._forget
        self.tend(client)

    def put_first(self, client: ControlClient | None) -> None:
        """Let this control client, if any, not wait for others; they share what time is left."""
        moved, self.first = [self.first, client], client
        self._aside.limited = client is not None
        for each in moved:
            if each is not None and not each.closed:
                self._forget(each)
                self.tend(each)

    def make_room(self, clients: Sequence[Client]) -> None:
        """If there are too many of these, close the one that has been silent longest."""
        idle = [client for client in clients if client is not self.long_commands.client]
        if len(clients) >= MAX_CLIENTS and idle:
            self.close(min(idle, key=lambda client: client.last_heard))

    def close(self, client: Client) -> None:
        client.close()
        self.tend(client)

    def shut_down_data(self) -> None:
        """End every data channel for all who hold a descriptor of it; what waits for us goes on."""
        for client in self.datas:
            with contextlib.suppress(OSError):
                client.socket.shutdown(socket.SHUT_RDWR)

    def tend(self, client: Client) -> None:
        """After anything that may have changed a client: wait for the right thing, or forget it."""
        if not client.closed:
            aside = isinstance(client, ControlClient) and client is not self.first
            selector = self._aside if aside else self._loop
            selector.watch(client, client.events, partial(self._serve, client))
            return
        if isinstance(client, ControlClient) and client in self.controls:
            self.controls.remove(client)
            self.end_if(Ending.ON_CONTROL_CLOSED)
        if isinstance(client, DataClient) and client in self.datas:
            self.datas.remove(client)
            self.end_if(Ending.ON_DATA_CLOSED)
        self.on_closed(client)

    def pump(self) -> None:
        """Let each go on with what has waited."""
        for client in self.all():
            client.pump()
            self.tend(client)

    def end_if(self, reason: Ending) -> None:
        """Ask for the end if the options say that this brings it about."""
        if reason in self._ending:
            self._loop.request_end()

    @property
    def deadline(self) -> float | None:
        deadlines = [client.deadline for client in self.all() if client.deadline is not None]
        return min(deadlines) if deadlines else None

    def tick(self, now: float) -> None:
        """Give up on requests that are overdue."""
        for client in self.all():
            if client.deadline is not None and client.deadline <= now:
                client.expire(now)
                self.tend(client)

    def _forget(self, client: HasFileno) -> None:
        self._loop.forget(client)
        self._aside.forget(client)

    def _serve(self, client: Client) -> bool:
        if not client.closed and client.ready(time.monotonic()):
            return True
        self.tend(client)
        return False
