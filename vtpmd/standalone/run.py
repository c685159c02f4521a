"""From a command line to a process that serves one TPM, and to its exit status."""

import contextlib
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from socket import socket
from typing import NoReturn

from vtpmd.linux.errors import InUseError
from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import open_directory

from . import detach
from .endpoints import Leftovers, inherit, listen, place_of
from .wishes import Endpoint, Inherited, Wishes
from .words import UsageError

EXIT_FAILED = 1
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends this process in order."""


class NotServed(Exception):
    """The TPM cannot be served; the text says why."""


@dataclass(frozen=True)
class Socket:
    """``connected``: one client's connection, else a listener."""

    sock: socket
    connected: bool


@dataclass(frozen=True)
class Site:
    """What is opened before the TPM is: state directory, sockets, files to remove."""

    state_fd: int
    server: Socket | None
    control: Socket | None
    leftovers: Leftovers


def run(wishes: Wishes) -> int:
    """Serve until a signal, SHUTDOWN or a client's end; the exit status.

    The sockets are there before the engine is loaded: who waits for them need not wait for that.
    """
    for number in SIGNALS:
        signal.signal(number, _end)
    outcome: detach.Outcome = detach.Foreground()
    leftovers = Leftovers()
    try:
        site = _open(wishes, leftovers)
        if wishes.daemon:
            outcome = detach.detach()
        if wishes.pid is not None:
            detach.write_pid(wishes.pid, leftovers.add)
        _serve(wishes, site, outcome.ready)
    except (UsageError, NotServed, StorageError, InUseError, OSError) as error:
        outcome.failed(f"vtpmd-swtpm: {_text(error)}")
        return EXIT_FAILED
    finally:
        leftovers.remove()
    return 0


def _end(number: int, _: object) -> NoReturn:
    """A signal before the TPM is served: nothing to make durable, only sockets to remove."""
    sys.exit(0)


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _open(wishes: Wishes, leftovers: Leftovers) -> Site:
    state_fd = open_directory(wishes.state.directory)
    with contextlib.ExitStack() as opened:
        server, control = (
            None if wish is None else _socket(wish, leftovers, opened)
            for wish in (wishes.server, wishes.control)
        )
        opened.pop_all()
    return Site(state_fd, server, control, leftovers)


def _socket(wish: Endpoint, leftovers: Leftovers, opened: contextlib.ExitStack) -> Socket:
    address = wish.address
    if isinstance(address, Inherited):
        return Socket(inherit(address), address.connected)
    sock = opened.enter_context(listen(address))
    if (path := place_of(address)) is not None:
        leftovers.add(path)
    return Socket(sock, connected=False)


def _serve(wishes: Wishes, site: Site, ready: Callable[[], None]) -> None:
    from .host import serve  # takes a moment: see ``run``

    serve(wishes, site, ready)
