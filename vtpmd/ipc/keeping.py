"""Messages about TPMs that sleep: between worker and keeper, and between supervisor and keeper.

    supervisor ──Keep, a channel──▶ keeper          supervisor ──UseKeeper, its other end──▶ worker
    worker ──GiveBack, descriptors──▶ keeper ──TakenBack──▶ worker, which ends

To wake it the keeper is the predecessor in a succession (`serving`). What it holds it does not
read: the TPM is sealed, the key is in the order that it passes on.
"""

from dataclasses import dataclass
from uuid import UUID

from .serving import Serve
from .words import SandboxMode


@dataclass(frozen=True)
class UseKeeper:
    """Give the TPM to the keeper when no client has said anything for `idle` milliseconds.

    File descriptors: a channel to the keeper, and a file in memory for what is sealed.
    """

    idle: int


@dataclass(frozen=True)
class KeeperUsed:
    """It will."""


@dataclass(frozen=True)
class GiveBack:
    """Keep this TPM until somebody wants it. As `Succession`, and with the same descriptors."""

    order: Serve
    data: bool = False
    idle: int = 0


@dataclass(frozen=True)
class TakenBack:
    """The keeper has it all: the worker ends and says nothing to anybody."""


@dataclass(frozen=True)
class Keep:
    """A worker may give its TPM to the keeper.

    File descriptors: a channel to the worker, and the instance's serving lock, open for reading.
    `sandbox`: of whoever wakes it; what the worker says of that does not count.
    """

    uuid: UUID
    name: str
    sandbox: SandboxMode = "require"


@dataclass(frozen=True)
class ReadSleepers:
    """Which TPMs sleep, of these or of all? Answered by an Asleep for each, and then Sleepers."""

    uuids: tuple[UUID, ...] = ()


@dataclass(frozen=True)
class Sleepers:
    """Those that were told of are all; of all instances, how many are known to the keeper."""

    known: int = 0


@dataclass(frozen=True)
class Asleep:
    """A TPM sleeps. File descriptors: duplicates of those of GiveBack, should the keeper end."""

    uuid: UUID
    data: bool = False


@dataclass(frozen=True)
class WakeUp:
    """Let a worker go on with a TPM that sleeps; nothing happens if it is awake."""

    uuid: UUID


@dataclass(frozen=True)
class Awake:
    """The worker `pid` has gone on with a TPM that slept."""

    uuid: UUID
    pid: int


@dataclass(frozen=True)
class NotAwake:
    """A TPM could not be woken; it is tried again by itself."""

    uuid: UUID
    reason: str
