"""How one instance is served: its sockets, and what its clients may do and bring about."""

import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Flag, auto
from uuid import UUID

from vtpmd.linux.peers import PeerPolicy
from vtpmd.storage.header import Handover
from vtpmd.swtpm.table import MAX_LOCALITY

from .inheritance import Inheritance
from .observer import Observer
from .power import Startup


@dataclass(frozen=True)
class Listeners:
    """Listening sockets, already bound, and clients that are connected already.

    `adoption` is for a daemon that was started anew, `data` for tools. `remove_names` is called
    where nobody shall connect any more. `inheritance`: what a worker that crashed has left.
    """

    control: socket.socket | None
    adoption: socket.socket | None
    data: socket.socket | None = None
    control_client: socket.socket | None = None
    data_client: socket.socket | None = None
    remove_names: Callable[[], None] = field(default=lambda: None, kw_only=True)
    inheritance: Inheritance | None = field(default=None, kw_only=True)


class Ending(Flag):
    """What ends serving besides a signal and the supervisor's Stop."""

    ON_SHUTDOWN = auto()
    ON_CONTROL_CLOSED = auto()
    ON_DATA_CLOSED = auto()


NEVER = Ending(0)


@dataclass(frozen=True)
class Options:
    """What an instance's configuration says about serving it.

    `startup`: power the TPM on at once, and how; None leaves that to a client's INIT.
    `disconnect`: a data connection ends with its first response. `handover`: what the supervisor
    remembers of it. `absent`: why there is no TPM to serve yet. `observer` is told of each request
    and its answer. `signals` end serving.
    """

    uuid: UUID
    name: str
    sandbox: dict[str, str]
    peers: PeerPolicy
    startup: Startup | None = None
    set_locality: bool = False
    max_locality: int = MAX_LOCALITY
    auto_shutdown: bool = True
    disconnect: bool = False
    handover: Handover = "ours"
    absent: str = ""
    observer: Observer | None = None
    ending: Ending = NEVER
    signals: tuple[signal.Signals, ...] = (signal.SIGTERM,)
