"""The sockets that a command line asks for, and their removal at the end."""

import contextlib
import os
import socket
from pathlib import Path

from vtpmd.linux import sockets

from .options import Address, Inherited, Tcp, Unix
from .syntax import UsageError


def listen(address: Tcp | Unix) -> socket.socket:
    """A non-blocking listener. Raises OSError, InUseError or UsageError."""
    if isinstance(address, Unix):
        return sockets.listen(address.path, mode=address.mode, owner=address.uid, group=address.gid)
    try:
        family, kind, protocol, _, location = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise UsageError(f"bindaddr={address.host}: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(location)
        listener.listen(sockets.BACKLOG)
    except OSError as error:
        listener.close()
        where = f"{address.host} port {address.port}"
        raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from None
    listener.setblocking(False)
    return listener


def inherit(address: Inherited) -> socket.socket:
    """The socket behind a descriptor that we were started with. Raises UsageError."""
    try:
        sock = socket.socket(fileno=address.fd)
    except OSError as error:
        raise UsageError(f"descriptor {address.fd} is no socket: {error.strerror}") from None
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


def path_of(address: Address) -> Path | None:
    """The file that an address leaves behind."""
    return address.path if isinstance(address, Unix) else None


class Leftovers:
    """Files to remove at the end, by descriptors of their directories.

    A sandbox may grant the removal beneath `directories` and nothing else.
    """

    def __init__(self) -> None:
        self._files: list[tuple[int, str]] = []

    @property
    def directories(self) -> list[int]:
        return [directory for directory, _ in self._files]

    def add(self, path: Path) -> None:
        """Raises OSError."""
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._files.append((directory, path.name))

    def remove(self) -> None:
        """Remove what is still there."""
        for directory, name in self._files:
            with contextlib.suppress(OSError):  # gone already, or no longer ours to remove
                os.unlink(name, dir_fd=directory)
            os.close(directory)
        self._files.clear()
