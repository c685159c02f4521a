"""Every request and answer of the admin interface, declared once.

Both sides may be of different versions, so there is one rule for each direction:

- A *report* (an answer) is read tolerantly: unknown fields of a newer daemon are ignored, and a
  field that an older daemon does not know has its default, or else the empty value of its type.
- A *request* is an order and is read strictly: the daemon refuses fields that it does not know.
  Optional fields have defaults, and a field that has its default is not sent.

`codec` reads and writes them; the daemon's half of the rule for requests is `vtpmd.admin.schema`.
"""

from datetime import datetime
from uuid import UUID

from .base import Report as Report
from .base import Request as Request
from .certificates import CaCertificate as CaCertificate
from .certificates import CaCertificates as CaCertificates
from .certificates import CaImportRequest as CaImportRequest
from .certificates import CaInfo as CaInfo
from .certificates import CaRekeyRequest as CaRekeyRequest
from .certificates import CaRequest as CaRequest
from .certificates import CaRevocation as CaRevocation
from .certificates import CaRevocationLists as CaRevocationLists
from .certificates import CaRevokeRequest as CaRevokeRequest
from .certificates import EkImportRequest as EkImportRequest
from .certificates import EkInfo as EkInfo
from .certificates import EkKey as EkKey
from .certificates import EkRenewRequest as EkRenewRequest
from .certificates import EkRequests as EkRequests
from .certificates import EkRequestsRequest as EkRequestsRequest
from .doctor import Diagnosis as Diagnosis
from .doctor import Finding as Finding
from .migration import IncomingRequest as IncomingRequest
from .migration import MigrateCheck as MigrateCheck
from .migration import MigrateCheckRequest as MigrateCheckRequest
from .migration import MigrateRequest as MigrateRequest
from .providers import BackupNote as BackupNote
from .providers import BackupRequest as BackupRequest
from .providers import KeyImportRequest as KeyImportRequest
from .providers import KeyImportResult as KeyImportResult
from .providers import KeyringBackup as KeyringBackup
from .providers import ProviderDetails as ProviderDetails
from .providers import ProviderInfo as ProviderInfo
from .providers import ProviderList as ProviderList
from .providers import RotateResult as RotateResult
from .snapshots import SnapshotDeleteRequest as SnapshotDeleteRequest
from .snapshots import SnapshotInfo as SnapshotInfo
from .snapshots import SnapshotList as SnapshotList
from .snapshots import SnapshotRequest as SnapshotRequest
from .snapshots import SnapshotRestoreRequest as SnapshotRestoreRequest
from .watching import EventInfo as EventInfo
from .watching import EventList as EventList
from .watching import EventsRequest as EventsRequest
from .watching import InstanceUsage as InstanceUsage
from .watching import UsageList as UsageList


class CreateRequest(Request):
    """A new instance. What is left out is taken from the configuration; the UUID is random.

    `owner`: USER[:GROUP], by name or number, who may connect to its sockets; `mode`: theirs, octal.
    """

    name: str
    uuid: UUID | None = None
    pcr_banks: tuple[str, ...] | None = None
    profile: str | None = None
    provider: str | None = None
    data_socket: bool | None = None
    owner: str | None = None
    mode: str | None = None
    start: bool = True


class SetRequest(Request):
    """Settings to change; what is left out stays, and an empty text means as it is configured.

    `autostart`: it is served when the daemon starts. `labels` are added to those that there are; an
    empty value removes one.
    """

    owner: str | None = None
    mode: str | None = None
    autostart: bool | None = None
    data_socket: bool | None = None
    labels: dict[str, str] | None = None


class RenameRequest(Request):
    """The new name of an instance."""

    name: str


class StopRequest(Request):
    """`remember`: the instance stays stopped when the daemon starts next.

    `force`: a QEMU that waits for its TPM is freed first, and a worker that hangs is killed.
    """

    remember: bool = True
    force: bool = False


class UnlockRequest(Request):
    """Which locked instances to try: those of one key provider, or all."""

    provider: str | None = None


class RekeyRequest(Request):
    """`deep`: make a new DEK, too. `provider`: move to another one.

    `since`: leave the instance alone if all its slots have been made since then.
    """

    deep: bool = False
    provider: str | None = None
    since: datetime | None = None


class CloneRequest(Request):
    """A new instance like another one. What is left out is taken from the original.

    `policy`: "copy" or "replace"; the default is configured. `confirmed`: use the policy replace
    even if the owner has keys or data in the original.
    """

    name: str
    uuid: UUID | None = None
    policy: str | None = None
    provider: str | None = None
    data_socket: bool | None = None
    owner: str | None = None
    mode: str | None = None
    confirmed: bool = False
    start: bool = True


class RestoreRequest(Request):
    """How to restore a bundle: under another `name`, replacing the present instance, started.

    `owner` and `mode` are never those in the bundle, but those of the instance that is replaced.
    `confirmed`: what is stored here may be lost.
    """

    name: str | None = None
    owner: str | None = None
    mode: str | None = None
    replace: bool = False
    start: bool = False
    confirmed: bool = False


class KeySlot(Report):
    """Which key provider holds the wrapped key of an instance, under which KEK, since when."""

    provider: str
    type: str
    key_ref: str
    key_version: str
    purpose: str
    created: datetime


class KeyFate(Report):
    """Whether the KEK around a deleted key was destroyed, and why not."""

    provider: str
    key_ref: str
    key_version: str
    destroyed: bool
    reason: str


class Deletion(Report):
    """What was destroyed with an instance.

    `keys` is None if the state file could not be read, so that its keys are unknown.
    `secrets_remain_in`: the instances that share its identity.
    """

    deleted: str
    uuid: UUID
    keys: tuple[KeyFate, ...] | None
    secrets_remain_in: tuple[str, ...]


class RekeyResult(Report):
    """`changed` is False if the instance was under the wanted keys already."""

    name: str
    uuid: UUID
    changed: bool
    keys: tuple[KeySlot, ...]


class CaRekeyResult(Report):
    """Which key providers hold the key of the own authority now."""

    keys: tuple[KeySlot, ...]


class WorkerInfo(Report):
    """What a running worker says about itself.

    `tpm`: "off", "on" or "failed". `storage`: "available", or why the TPM answers
    TPM_RC_NV_UNAVAILABLE. `sandbox`: each part of the sandbox and how it is in force.
    `dropped_octets` were sent out of turn, `refused_descriptors` with messages that take none.
    `epoch` counts how often a new line of the TPM's life began, as after a snapshot was loaded;
    `begun` says how this one did, if that is known.
    `declared`: a migration is waited for; `pending`: a restored state waits for the first
    command of its machine. `version`: of the vtpmd that it belongs to. `failed_tries`:
    authorizations that have failed and are not forgiven; `lockout`: it allows no more of them.
    """

    pid: int
    tpm: str
    generation: int
    clients: int
    commands: int
    storage: str
    sandbox: dict[str, str]
    dropped_octets: int = 0
    refused_descriptors: int = 0
    epoch: int = 0
    declared: bool = False
    pending: bool = False
    begun: str = ""
    version: str = ""
    failed_tries: int = 0
    lockout: bool = False


class SocketAccess(Report):
    """Who may connect to the sockets of an instance, beside root and the daemon's own user.

    `owner` and `group`: by name or number. `configured`: for every instance without settings of
    its own. `shared`: the daemon may not change the sockets' owner, so that an access control list
    lets others in.
    """

    owner: str | None
    group: str | None
    mode: str
    configured: bool
    shared: bool


class KnownState(Report):
    """The newest state of a TPM that the daemon has noted, and when that was last so."""

    generation: int
    epoch: int
    seen: datetime


class InstanceInfo(Report):
    """One instance. `since`: when it entered its state; `reason`: why it is in it.

    `shares_identity_with`: the instances of this host that have the same secrets. `handover`:
    "ours"; "lent", so that it goes on here until a machine elsewhere has it; or "away".
    `asleep`: it is running, and no worker is needed until somebody uses it. `certificates`: "none",
    "valid", or "stale: …" with the reason. `rollback`: of a state that was turned back, until
    someone accepts it; `newest`: what was stored later than that could be turned back unseen. A
    `machine`: the process that uses it, as QEMU does; 0: none, -1: one that has no number here. A
    list of instances leaves `certificates`, `rollback`, `newest`, `keys` and
    `worker` empty.
    """

    name: str
    uuid: UUID
    state: str
    reason: str
    since: datetime
    created: datetime
    autostart: bool
    provider: str
    profile: str
    pcr_banks: tuple[str, ...]
    control_socket: str
    data_socket: str | None
    access: SocketAccess | None = None
    shares_identity_with: tuple[str, ...] = ()
    handover: str = ""
    asleep: bool = False
    certificates: str = ""
    rollback: str = ""
    newest: KnownState | None = None
    keys: tuple[KeySlot, ...] = ()
    worker: WorkerInfo | None = None
    machine: int = 0
    labels: dict[str, str]


class Failure(Report):
    """What was not done for one of several instances, and why; `code` is that of a problem."""

    name: str
    code: str
    detail: str


class UnlockResult(Report):
    """Which of the locked instances are unlocked now, and which are still locked."""

    unlocked: tuple[str, ...]
    failed: tuple[Failure, ...]


class Upgraded(Report):
    """A fresh worker serves an instance; `pause_ms`: for how many milliseconds nobody did."""

    name: str
    uuid: UUID
    pid: int
    pause_ms: int


class Progress(Report):
    """One of several instances is done: the `done`th of all. `failure`: why it is not as asked."""

    done: int
    all: int
    name: str
    failure: Failure | None = None


class UpgradeResult(Report):
    """Which of the running instances are served by fresh workers now, and which are not.

    `asleep`: those that sleep, and will be woken by a fresh one.
    """

    upgraded: tuple[Upgraded, ...]
    failed: tuple[Failure, ...]
    asleep: tuple[str, ...] = ()


class LockoutResult(Report):
    """`failed_tries` were forgotten; `lockout`: the TPM was in lockout.

    `remains`: it still is, as its owner permits no tries at all.
    """

    name: str
    uuid: UUID
    failed_tries: int
    lockout: bool
    remains: bool


class InstanceList(Report):
    """All instances, by name."""

    instances: tuple[InstanceInfo, ...]


class Digests(Report):
    """Bank -> PCR index -> digest in hexadecimal; empty while the TPM is off."""

    banks: dict[str, dict[int, str]]


class Capabilities(Report):
    """What this daemon can do. `create`: "available", or "unavailable: …" with the reason."""

    version: str
    create: str
    profiles: tuple[str, ...]
    pcr_banks: tuple[str, ...]
    key_providers: tuple[ProviderInfo, ...]
    sandbox: str
    states: tuple[str, ...]
