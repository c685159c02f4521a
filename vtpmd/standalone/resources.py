"""What is opened before the TPM is: state directory, sockets, files to remove at the end."""

import contextlib
import signal
from dataclasses import dataclass
from socket import socket

from vtpmd.storage.files import open_directory

from .endpoints import Leftovers, inherit, listen, path_of
from .options import CommandLine, Endpoint, Inherited

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends this process in order."""


class StartError(Exception):
    """The TPM cannot be served; the text says why."""


@dataclass(frozen=True)
class Socket:
    """`connected`: one client's connection, else a listener."""

    sock: socket
    connected: bool


@dataclass(frozen=True)
class Resources:
    """The descriptors that serving needs, and the files that it leaves behind."""

    state_fd: int
    server: Socket | None
    control: Socket | None
    leftovers: Leftovers


def acquire(options: CommandLine, leftovers: Leftovers) -> Resources:
    """Open everything. Raises StorageError, InUseError, OSError or UsageError."""
    state_fd = open_directory(options.state.directory, group_may_write=True)
    with contextlib.ExitStack() as opened:
        server, control = (
            None if endpoint is None else _socket(endpoint, leftovers, opened)
            for endpoint in (options.server, options.control)
        )
        opened.pop_all()
    return Resources(state_fd, server, control, leftovers)


def _socket(endpoint: Endpoint, leftovers: Leftovers, opened: contextlib.ExitStack) -> Socket:
    address = endpoint.address
    if isinstance(address, Inherited):
        return Socket(inherit(address), address.connected)
    sock = opened.enter_context(listen(address))
    if (path := path_of(address)) is not None:
        leftovers.add(path)
    return Socket(sock, connected=False)
