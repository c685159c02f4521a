"""Messages about TPMs that sleep: between worker and keeper, and between supervisor and keeper.

    supervisor ──Keep, a channel──▶ keeper          supervisor ──UseKeeper, its other end──▶ worker
    worker ──GiveBack, descriptors──▶ keeper ──TakenBack──▶ worker, which ends

To wake it the keeper is the predecessor in a succession (`serving`). What it holds it does not
read: the TPM is sealed, the key is in the order that it passes on.

A worker that is awake leaves a bequest there, should it crash:

    worker ──Bequeath, QEMU's connections──▶ keeper ──Bequest, the same and more──▶ supervisor
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from .serving import Serve
from .words import SandboxMode

PROGRESS_SIZE: Final = 32
"""Octets of the file in memory in which a worker notes what QEMU waits for (`worker.progress`)."""


@dataclass(frozen=True)
class UseKeeper:
    """Give the TPM to the keeper when no client has said anything for `idle` milliseconds.

    Never for 0: then the keeper only has the bequest. File descriptors: a channel to the keeper, a
    file in memory for what is sealed, and the file of `Keep` in which progress is noted.
    """

    idle: int


@dataclass(frozen=True)
class KeeperUsed:
    """It will."""


@dataclass(frozen=True)
class GiveBack:
    """Keep this TPM until somebody wants it. As `Succession`, and with the same descriptors.

    `due`: in so many milliseconds it is to be awake, nobody having come before; 0: never.
    `machine`: as in `StatusReply`.
    """

    order: Serve
    data: bool = False
    idle: int = 0
    due: int = 0
    machine: int = 0


@dataclass(frozen=True)
class TakenBack:
    """The keeper has it all: the worker ends and says nothing to anybody."""


@dataclass(frozen=True)
class Keep:
    """A worker may give its TPM to the keeper.

    File descriptors: a channel to the worker, the instance's serving lock, open for reading, and a
    file in memory of PROGRESS_SIZE octets, which nobody can shorten. `sandbox`: of whoever wakes
    it; what the worker says of that does not count.
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
    """Those that were told of are all.

    `known`: of all instances, how many are known to the keeper; `version`: of vtpmd, the keeper's.
    """

    known: int = 0
    version: str = ""


@dataclass(frozen=True)
class Asleep:
    """A TPM sleeps. File descriptors: duplicates of those of GiveBack, should the keeper end.

    `machine`: the process that stays connected, as its worker has said; 0: none.
    """

    uuid: UUID
    data: bool = False
    machine: int = 0


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


@dataclass(frozen=True)
class Bequeath:
    """QEMU is connected, whose connections another worker shall have should this one crash.

    File descriptors: its control and data connection; none if no QEMU is connected any more.
    """


@dataclass(frozen=True)
class ReadBequest:
    """What has the last worker of this instance left, if it has crashed? Answered by Bequest."""

    uuid: UUID


@dataclass(frozen=True)
class Bequest:
    """What it has left. File descriptors: control and data connection, and progress; or none."""

    uuid: UUID


@dataclass(frozen=True)
class ForgetBequest:
    """Nobody goes on with this instance: whoever was connected to it finds that out."""

    uuid: UUID
