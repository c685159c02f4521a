"""Every message between supervisor, zygote and workers, and the one table of what is legal when.

What the supervisor sends is an order, what it is sent is a report: `codec` says what that means for
fields of other versions. Every field that is added from now on has a default; `version` says which
number grows with it. Secrets (`dek`) are bytearrays that stay out of every repr; whoever holds a
message wipes them. State files are passed as open descriptors, in the order of `ROLES`.
"""

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from vtpmd.storage.header import Handover
from vtpmd.storage.key import Key
from vtpmd.storage.record import ROLES
from vtpmd.storage.slot import Slot

from .events import ALARMS as ALARMS
from .events import HAND_OVERS as HAND_OVERS
from .events import STORAGE as STORAGE
from .events import EventKind as EventKind
from .handover import ChangeHandOver as ChangeHandOver
from .handover import HandOverAct as HandOverAct
from .handover import HandOverChanged as HandOverChanged
from .handover import HandOverRefused as HandOverRefused
from .handover import NotUnwrapped as NotUnwrapped
from .handover import UnwrapKey as UnwrapKey
from .handover import Unwrapped as Unwrapped
from .identity import (
    Certified,
    Certify,
    Complete,
    Identified,
    Identify,
    Installed,
    Made,
    NotCertified,
    ReadInstalled,
    Recertify,
)
from .keepers import HandedOn as HandedOn
from .keepers import HandOn as HandOn
from .keepers import KeeperNotReplaced as KeeperNotReplaced
from .keepers import KeeperPrepared as KeeperPrepared
from .keepers import KeeperReplaced as KeeperReplaced
from .keepers import KeeperSucceeded as KeeperSucceeded
from .keepers import ReplaceKeeper as ReplaceKeeper
from .keeping import PROGRESS_SIZE as PROGRESS_SIZE
from .keeping import Asleep as Asleep
from .keeping import Awake as Awake
from .keeping import Bequeath as Bequeath
from .keeping import Bequest as Bequest
from .keeping import ForgetBequest as ForgetBequest
from .keeping import GiveBack as GiveBack
from .keeping import Keep as Keep
from .keeping import KeeperUsed as KeeperUsed
from .keeping import NotAwake as NotAwake
from .keeping import ReadBequest as ReadBequest
from .keeping import ReadSleepers as ReadSleepers
from .keeping import Sleepers as Sleepers
from .keeping import TakenBack as TakenBack
from .keeping import UseKeeper as UseKeeper
from .keeping import WakeUp as WakeUp
from .lockout import LockoutNotReset as LockoutNotReset
from .lockout import LockoutReset as LockoutReset
from .lockout import ResetLockout as ResetLockout
from .lockout import ResetStoredLockout as ResetStoredLockout
from .serving import Detained as Detained
from .serving import GivesWay as GivesWay
from .serving import GiveWay as GiveWay
from .serving import Prepared as Prepared
from .serving import Ready as Ready
from .serving import Serve as Serve
from .serving import Succeed as Succeed
from .serving import Succeeded as Succeeded
from .serving import Succession as Succession
from .spawning import Exit as Exit
from .spawning import ReadExit as ReadExit
from .spawning import Spawn as Spawn
from .spawning import Spawned as Spawned
from .spawning import SpawnFailed as SpawnFailed
from .spawning import ZygoteReady as ZygoteReady
from .words import NO_NUMBER as NO_NUMBER
from .words import FailureKind as FailureKind
from .words import SandboxMode as SandboxMode

STATE_FDS = len(ROLES)
"""How many descriptors the state files of an instance are."""
TpmPower = Literal["off", "on", "failed", "unknown"]


@dataclass(frozen=True)
class Manufacture:
    """Make a new TPM and store it. File descriptors: its (empty) state files.

    With `keys`, kinds of EKs, the TPM first says in Made who it is, and waits for Complete.
    """

    uuid: UUID
    name: str
    profile: str
    pcr_banks: tuple[str, ...]
    key: Key
    sandbox: SandboxMode = "require"
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Copy:
    """Seal the stored TPM `source` anew as another instance that keeps all its secrets.

    File descriptors: its (empty) state files, and the permanent state of the source, which may be
    served.
    """

    uuid: UUID
    name: str
    source: UUID
    source_dek: bytearray = field(repr=False)
    key: Key
    sandbox: SandboxMode = "require"


@dataclass(frozen=True)
class Reseal:
    """Seal a stored TPM under a new DEK. File descriptors: its state files and its lock."""

    uuid: UUID
    name: str
    old: Key
    key: Key
    sandbox: SandboxMode = "require"


@dataclass(frozen=True)
class ChangeStoredHandOver:
    """Change the state of hand-over of a stored TPM, which is not served.

    File descriptors: its state files and its lock. `handover`: what the supervisor remembers;
    `epoch`: the newest that it knows of, after which a new line begins.
    """

    uuid: UUID
    name: str
    key: Key
    act: HandOverAct
    handover: Handover = "ours"
    sandbox: SandboxMode = "require"
    epoch: int = 0


@dataclass(frozen=True)
class Stored:
    """Manufacture, Copy, Reseal or Recertify is done and durable."""

    generation: int


@dataclass(frozen=True)
class Examine:
    """Open a stored TPM, which may be served, and say what is in it.

    One file descriptor: its permanent state.
    """

    uuid: UUID
    name: str
    dek: bytearray = field(repr=False)
    sandbox: SandboxMode = "require"


@dataclass(frozen=True)
class Examined:
    """The state opens. `owner_objects`: persistent objects that are no EKs; `owner_indices`: NV
    indices that were not defined by the platform."""

    generation: int
    owner_objects: int
    owner_indices: int


@dataclass(frozen=True)
class Failed:
    """The order could not be carried out; nothing on disk was touched. The worker ends."""

    kind: FailureKind
    reason: str


@dataclass(frozen=True)
class Status:
    pass


@dataclass(frozen=True)
class StatusReply:
    """What a worker says of itself; it is shown to people, and nothing is decided by it but how
    strict a later start is: `handover` is remembered.

    `since`: CLOCK_MONOTONIC milliseconds at Ready; `commands`: TPM commands answered. `storage`:
    "available", or why the next change could not be stored. `dropped_octets` came behind a
    TPM command before its answer, or in none; `refused_descriptors` came with control messages.
    `handover`: "ours", "lent" or "away"; `begun`: how its epoch began, if that is known;
    `declared`: a migration is waited for; `pending`: a restored state waits for its first command.
    `version`: of the vtpmd that the worker belongs to.
    `profile`, `pcr_banks`: those of the TPM, empty while it is still to come. Of the commands that
    this worker has answered: `responses` by class (`tally`), `latencies` how many within each bound
    and beyond, `busy` microseconds all together, `nv_writes` how often something was stored.
    `machine`: the process that has attached a data descriptor, or NO_NUMBER; 0: none.
    `failed_tries`: authorizations that have failed and are not forgiven; `lockout`: so many that no
    more are allowed, or lockoutAuth itself has failed.
    """

    uuid: UUID
    name: str
    generation: int = 0
    tpm: TpmPower = "unknown"
    clients: int = 0
    sandbox: dict[str, str] = field(default_factory=dict)
    since: int = 0
    commands: int = 0
    storage: str = "unknown"
    dropped_octets: int = 0
    refused_descriptors: int = 0
    handover: str = "unknown"
    epoch: int = 0
    declared: bool = False
    pending: bool = False
    begun: str = ""
    version: str = ""
    profile: str = ""
    pcr_banks: tuple[str, ...] = ()
    responses: dict[str, int] = field(default_factory=dict)
    latencies: tuple[int, ...] = ()
    busy: int = 0
    nv_writes: int = 0
    machine: int = 0
    failed_tries: int = 0
    lockout: bool = False


@dataclass(frozen=True)
class ReadPcrs:
    pass


@dataclass(frozen=True)
class Pcrs:
    """Bank -> PCR index -> digest; empty while the TPM is off."""

    banks: dict[str, dict[int, bytes]]


@dataclass(frozen=True)
class Rekey:
    """Seal with this new DEK and these slots from now on."""

    key: Key


@dataclass(frozen=True)
class Rewrap:
    """Seal with the same DEK and these slots from now on."""

    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Rekeyed:
    """Rekey or Rewrap is done: the durable state has the new slots."""

    generation: int


@dataclass(frozen=True)
class RekeyFailed:
    """The old DEK and slots stay in force."""

    reason: str


@dataclass(frozen=True)
class Admit:
    """Accept from now on these clients only, as in `Serve`; who is connected stays."""

    check_peers: bool
    peer_uids: tuple[int, ...]
    peer_gids: tuple[int, ...]


@dataclass(frozen=True)
class Admitted:
    """Admit is in force."""


@dataclass(frozen=True)
class Stop:
    """Orderly TPM2_Shutdown if one is due, make the state durable, answer Stopped and end.

    With `force` the clients' data channels are shut down first, before a running command ends: a
    QEMU that waits for an answer goes on.
    """

    reason: str
    force: bool = False


@dataclass(frozen=True)
class Stopped:
    generation: int


@dataclass(frozen=True)
class Event:
    """Something happened. `kind` is an EventKind, or a word of a newer version."""

    kind: str
    detail: str = ""


Message = (
    ZygoteReady
    | Spawn
    | Spawned
    | SpawnFailed
    | ReadExit
    | Exit
    | Manufacture
    | Made
    | Complete
    | Recertify
    | Copy
    | Reseal
    | ChangeStoredHandOver
    | Stored
    | Examine
    | Examined
    | Identify
    | Identified
    | Serve
    | Succeed
    | Ready
    | Failed
    | Status
    | StatusReply
    | ReadPcrs
    | Pcrs
    | ReadInstalled
    | Installed
    | Certify
    | Certified
    | NotCertified
    | Rekey
    | Rewrap
    | Rekeyed
    | RekeyFailed
    | ChangeHandOver
    | HandOverChanged
    | HandOverRefused
    | ResetLockout
    | ResetStoredLockout
    | LockoutReset
    | LockoutNotReset
    | UnwrapKey
    | Unwrapped
    | NotUnwrapped
    | Admit
    | Admitted
    | GiveWay
    | GivesWay
    | Prepared
    | Succession
    | Succeeded
    | Detained
    | UseKeeper
    | KeeperUsed
    | GiveBack
    | TakenBack
    | Keep
    | ReadSleepers
    | Sleepers
    | Asleep
    | WakeUp
    | Bequeath
    | ReadBequest
    | Bequest
    | ForgetBequest
    | Awake
    | NotAwake
    | ReplaceKeeper
    | KeeperReplaced
    | KeeperNotReplaced
    | KeeperPrepared
    | HandOn
    | HandedOn
    | KeeperSucceeded
    | Stop
    | Stopped
    | Event
)
