"""The sockets of one instance: their paths, and the listeners the supervisor holds."""

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import trio

from vtpmd.config.schema import SOCKET_PATH_LIMIT, Configuration, Sockets, group_id, user_id
from vtpmd.linux import sockets
from vtpmd.linux.errors import InUseError

from . import serving_lock
from .errors import EndpointError


class Endpoints:
    """Where QEMU (`control`), tools (`data`) and the next daemon (`adoption`) connect.

    The supervisor listens before there is a worker, so that a virtual machine can connect early,
    and keeps listening when a worker ends unexpectedly.
    """

    def __init__(
        self, configuration: Configuration, name: str, uuid: UUID, data_socket: bool
    ) -> None:
        runtime = configuration.runtime_dir
        self.control = runtime / f"{name}.sock.ctrl"
        self.data = runtime / f"{name}.sock" if data_socket else None
        self.adoption = configuration.adoption_socket(uuid)
        self._settings = configuration.sockets
        self._listeners: list[socket.socket] = []
        self._turning_away: trio.CancelScope | None = None

    @property
    def fit(self) -> bool:
        """Whether the paths are short enough for Unix sockets."""
        return len(bytes(self.control)) <= SOCKET_PATH_LIMIT

    def listen(self) -> list[int]:
        """Listen on the control and the data socket; the listeners' descriptors in this order.

        Raises EndpointError, and InUseError or OSError as `sockets.listen` does.
        """
        if not self._listeners:
            self._listeners.append(self._listen(self.control))
            if self.data is not None:
                self._listeners.append(self._listen(self.data))
        return [listener.fileno() for listener in self._listeners]

    def _listen(self, path: Path) -> socket.socket:
        owner, group = ownership(self._settings)
        return sockets.listen(path, mode=self._settings.mode, owner=owner, group=group)

    def listen_for_adoption(self) -> socket.socket:
        """The listener on which a worker waits for the next daemon. Raises as `listen`."""
        return sockets.listen(self.adoption, mode=0o600, kind=socket.SOCK_SEQPACKET)

    def turn_away(self, nursery: trio.Nursery, on_connection: Callable[[], None]) -> None:
        """Close every new connection until `admit`, so that QEMU fails at once.

        Nothing that a client sends is read.
        """
        if self._turning_away is None:
            self._turning_away = trio.CancelScope()
            nursery.start_soon(self._hang_up_on_all, self._turning_away, on_connection)

    def admit(self) -> None:
        """Let new connections wait for a worker again."""
        if self._turning_away is not None:
            self._turning_away.cancel()
            self._turning_away = None

    async def _hang_up_on_all(
        self, scope: trio.CancelScope, on_connection: Callable[[], None]
    ) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                for listener in self._listeners:
                    nursery.start_soon(_hang_up, listener, scope, on_connection)

    def let_go(self) -> None:
        """Close our listeners and leave the sockets to the worker, which goes on listening."""
        self.admit()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def remove(self) -> None:
        """Close the listeners and remove the sockets of an instance without a worker."""
        self.let_go()
        serving_lock.clear(self.adoption)
        ours = [(self.control, socket.SOCK_STREAM), (self.adoption, socket.SOCK_SEQPACKET)]
        if self.data is not None:
            ours.append((self.data, socket.SOCK_STREAM))
        for path, kind in ours:
            with contextlib.suppress(InUseError, FileExistsError):
                sockets.clear(path, kind)


async def _hang_up(
    listener: socket.socket, scope: trio.CancelScope, on_connection: Callable[[], None]
) -> None:
    while True:
        await trio.lowlevel.wait_readable(listener)
        if scope.cancel_called:
            return  # woken for a connection that is the worker's
        try:
            connection, _ = listener.accept()
        except OSError:  # gone again, or no descriptor left
            await trio.sleep(0.1)
            continue
        connection.close()
        on_connection()


def ownership(settings: Sockets) -> tuple[int, int]:
    """The configured owner and group of sockets by number; -1 leaves one as it is.

    Raises EndpointError when there is no such user or group any more.
    """
    try:
        return (
            -1 if settings.owner is None else user_id(settings.owner),
            -1 if settings.group is None else group_id(settings.group),
        )
    except ValueError as error:
        raise EndpointError(str(error)) from None
