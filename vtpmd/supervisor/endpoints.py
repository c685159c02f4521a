"""The sockets of one instance: their paths, and the listeners the supervisor holds."""

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import trio

from vtpmd.config.schema import SOCKET_PATH_LIMIT, Configuration
from vtpmd.linux import acl, sockets
from vtpmd.linux.errors import InUseError

from . import serving_lock
from .access import Grant
from .errors import EndpointError
from .metadata import Metadata


class Endpoints:
    """Where QEMU (`control`), tools (`data`) and the next daemon (`adoption`) connect.

    The supervisor listens before there is a worker, so that a virtual machine can connect early,
    and keeps listening when a worker ends unexpectedly.
    """

    __slots__ = ("_configuration", "_data_socket", "_listeners", "_name", "_turning_away", "_uuid")

    def __init__(
        self, configuration: Configuration, name: str, uuid: UUID, data_socket: bool
    ) -> None:
        self._configuration = configuration
        self._name = name
        self._uuid = uuid
        self._data_socket = data_socket
        self._listeners: list[socket.socket] = []
        self._turning_away: trio.CancelScope | None = None

    @classmethod
    def of(cls, configuration: Configuration, metadata: Metadata) -> "Endpoints":
        """Those of an instance."""
        return cls(configuration, metadata.name, metadata.uuid, metadata.data_socket)

    @property
    def control_socket(self) -> str:
        """Where the control socket is, without the time that a path takes to be made."""
        return f"{self._configuration.runtime_dir}/{self._name}.sock.ctrl"

    @property
    def control(self) -> Path:
        """The control socket."""
        return Path(self.control_socket)

    @property
    def data(self) -> Path | None:
        """The data socket, if it has one."""
        return self._configuration.runtime_dir / f"{self._name}.sock" if self._data_socket else None

    @property
    def adoption(self) -> Path:
        """The socket for the next daemon."""
        return self._configuration.adoption_socket(self._uuid)

    @property
    def fit(self) -> bool:
        """Whether the paths are short enough for Unix sockets."""
        return len(bytes(self.control)) <= SOCKET_PATH_LIMIT

    @property
    def paths(self) -> tuple[Path, ...]:
        """The sockets for clients."""
        return (self.control,) if self.data is None else (self.control, self.data)

    @property
    def shared(self) -> bool:
        """Whether the daemon could not give its sockets away, and shares them by a list."""
        return acl.is_shared(self.control_socket)

    def listen(self, grant: Grant) -> list[int]:
        """Listen on the control and the data socket; the listeners' descriptors in this order.

        Raises EndpointError, and InUseError or OSError as `sockets.listen` does.
        """
        if self._listeners:
            self.grant(grant)
        else:
            with _sharing(), contextlib.ExitStack() as begun:
                listeners = [
                    begun.enter_context(sockets.listen(path, **vars(grant))) for path in self.paths
                ]
                begun.pop_all()
                self._listeners = listeners
        return [listener.fileno() for listener in self._listeners]

    def grant(self, grant: Grant) -> None:
        """Let others connect to sockets that are there. Raises EndpointError and OSError."""
        for path in self.paths:
            with _sharing(), contextlib.suppress(FileNotFoundError):
                sockets.grant_anew(path, **vars(grant))

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
        ours = [(path, socket.SOCK_STREAM) for path in self.paths]
        for path, kind in [*ours, (self.adoption, socket.SOCK_SEQPACKET)]:
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
            pause = 0.1
        else:
            connection.close()
            on_connection()
            pause = 0.0
        await trio.sleep(pause)


@contextlib.contextmanager
def _sharing() -> Iterator[None]:
    """Tell what is missing for sockets to have the owner and the group that they shall have."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        raise EndpointError(
            "the daemon may not give the sockets away, and the file system of its runtime "
            "directory has no access control lists: choose a group that the daemon is a member "
            "of, or run it as root"
        ) from None
