"""Messages with which a worker begins to serve a TPM: one that is stored, or another worker's.

    supervisor ──Succeed, channel──▶ successor    supervisor ──GiveWay, channel──▶ predecessor
    successor ──Prepared──▶ predecessor ──Succession, descriptors──▶ successor ──Succeeded──▶ …

The predecessor serves until the successor is prepared. It seals what its TPM has in memory and
waits: Succeeded ends it, the end of the channel lets it go on as if nothing had been. So there is
always exactly one that serves, whoever of them or the supervisor dies when.
"""

from dataclasses import dataclass, field
from uuid import UUID

from vtpmd.storage.header import Handover
from vtpmd.storage.key import Key

from .words import SandboxMode


@dataclass(frozen=True)
class Serve:
    """Serve a stored TPM.

    File descriptors: state files, the instance's lock, which is to stay open, control listener,
    adoption listener and, for tools, a data listener. `startup` powers the TPM on at once and sends
    TPM2_Startup(CLEAR) (swtpm's not-need-init,startup-clear); `set_locality` permits the vendor
    command TPM2_CC_SET_LOCALITY on the data channel; with `check_peers` only root, the worker's own
    user, `peer_uids` and members of `peer_gids` may connect, otherwise whoever the socket's mode
    lets in. `handover`: what the supervisor remembers of its state of hand-over. `incoming`: no
    state is stored yet, and `key` opens none; the TPM comes in state blobs and brings its key.
    `inherits`: three more descriptors come last, the `Bequest` of a worker that has crashed.
    """

    uuid: UUID
    name: str
    key: Key
    sandbox: SandboxMode = "require"
    startup: bool = False
    set_locality: bool = False
    check_peers: bool = False
    peer_uids: tuple[int, ...] = ()
    peer_gids: tuple[int, ...] = ()
    handover: Handover = "ours"
    incoming: bool = False
    inherits: bool = False


@dataclass(frozen=True)
class Ready:
    """The instance is served. `sandbox` tells what is active: part -> how.

    `pause`: for how long nobody served it, in microseconds, where another worker did before.
    """

    generation: int
    sandbox: dict[str, str] = field(default_factory=dict)
    pause: int = 0


@dataclass(frozen=True)
class Succeed:
    """Go on with the TPM of a worker that serves. One file descriptor: a channel to that."""

    uuid: UUID
    name: str
    sandbox: SandboxMode = "require"


@dataclass(frozen=True)
class GiveWay:
    """Let another worker go on with the TPM that is served, and end.

    File descriptors: a channel to the other, and a file in memory for what is sealed for it.
    """


@dataclass(frozen=True)
class GivesWay:
    """It will, as soon as the other is prepared and no client is in the middle of anything."""


@dataclass(frozen=True)
class Prepared:
    """The successor is loaded and confined: what it still needs is the TPM."""


@dataclass(frozen=True)
class Succession:
    """All that is needed to go on with a TPM.

    File descriptors: the file with the sealed state, those of `order`, and the clients' as the
    sealed state counts them. `data`: there is a data listener among them. `idle`: it is the keeper,
    which takes the TPM back when no client has said anything for so many milliseconds; the file of
    `Keep` in which progress is noted comes last then.
    """

    order: Serve
    data: bool = False
    idle: int = 0


@dataclass(frozen=True)
class Succeeded:
    """The successor serves from now on: the predecessor ends and says nothing to anybody."""


@dataclass(frozen=True)
class Detained:
    """The predecessor goes on itself; nothing has changed."""

    reason: str
