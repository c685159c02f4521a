"""The JSON of the admin interface: what requests may say and what answers tell."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from vtpmd.config.schema import ClonePolicy, PcrBanks, Profile
from vtpmd.storage.slot import Slot


class Body(BaseModel):
    """Base of all request bodies: exact types, nothing unknown."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class CreateRequest(Body):
    """What is left out is taken from the configuration; without `uuid` a new one is made."""

    name: str
    uuid: UUID | None = None
    pcr_banks: PcrBanks | None = None
    profile: Profile | None = None
    provider: str | None = None
    data_socket: bool | None = None
    start: bool = True


class StopRequest(Body):
    """`remember`: stay stopped when the daemon starts next."""

    remember: bool = True


class UnlockRequest(Body):
    """Which locked instances to try: those of one key provider, or all."""

    provider: str | None = None


class RekeyRequest(Body):
    """`deep`: a new DEK, too. `provider`: move to another one.

    With `since` an instance is left alone whose slots have all been made since then.
    """

    deep: bool = False
    provider: str | None = None
    since: AwareDatetime | None = None


class CloneRequest(Body):
    """A new instance like another one; what is left out is taken from the original.

    `confirmed`: the policy replace is meant although the owner has keys or data in the original.
    """

    name: str
    uuid: UUID | None = None
    policy: ClonePolicy | None = None
    provider: str | None = None
    data_socket: bool | None = None
    confirmed: bool = False
    start: bool = True


class RestoreRequest(Body):
    """How to restore a bundle: under another `name`, in the place of what there is, and started."""

    name: str | None = None
    replace: bool = False
    start: bool = False


class BackupRequest(Body):
    """The passphrase that will open a backup of keys."""

    passphrase: str = Field(repr=False)


class BackupNote(Body):
    """Which KEK versions are in a backup that has been written."""

    key_versions: list[str]


class KeyImportRequest(Body):
    """A backup of keys (base64) and its passphrase."""

    backup: str = Field(repr=False)
    passphrase: str = Field(repr=False)


class KeySlot(BaseModel):
    """Who holds the wrapped key of an instance, under which KEK, since when."""

    provider: str
    type: str
    key_ref: str
    key_version: str
    purpose: str
    created: datetime

    @classmethod
    def of(cls, slot: Slot) -> "KeySlot":
        """What may be shown of a slot."""
        return cls(
            provider=slot.provider,
            type=slot.provider_type,
            key_ref=slot.key_ref,
            key_version=slot.key_version,
            purpose=slot.purpose,
            created=datetime.fromtimestamp(slot.created, UTC),
        )


class KeyFate(BaseModel):
    """What became of the KEK around a key that was deleted, and why it is not destroyed."""

    provider: str
    key_ref: str
    key_version: str
    destroyed: bool
    reason: str


class Deletion(BaseModel):
    """What deleting an instance has destroyed.

    `keys` is None if its state file could not be read: which keys protected it is not known then.
    """

    deleted: str
    uuid: UUID
    keys: list[KeyFate] | None
    secrets_remain_in: list[str]


class RekeyResult(BaseModel):
    """`changed` is False for what was under the wanted keys already."""

    name: str
    uuid: UUID
    changed: bool
    keys: list[KeySlot]


class WorkerInfo(BaseModel):
    """What a running worker says about itself; `tpm` is its power.

    `storage`: "available", or why the TPM answers TPM_RC_NV_UNAVAILABLE.
    """

    pid: int
    tpm: Literal["off", "on", "failed", "unknown"]
    generation: int
    clients: int
    commands: int
    storage: str
    sandbox: dict[str, str]


class InstanceInfo(BaseModel):
    """One instance. `since`: when it came into its state; `reason`: why it is in it.

    `shares_identity_with`: the instances of this host that have the same secrets. `keys` and
    `worker` are told of single instances only.
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
    pcr_banks: list[str]
    control_socket: str
    data_socket: str | None
    shares_identity_with: list[str] = []
    keys: list[KeySlot] = []
    worker: WorkerInfo | None = None


class Failure(BaseModel):
    """What was not done for one instance of several, and why."""

    name: str
    code: str
    detail: str


class UnlockResult(BaseModel):
    """Which instances were locked, and are not any more, or still are."""

    unlocked: list[str]
    failed: list[Failure]


class InstanceList(BaseModel):
    """All instances, by name."""

    instances: list[InstanceInfo]


class Digests(BaseModel):
    """Bank -> PCR index -> digest in hexadecimal; empty while the TPM is off."""

    banks: dict[str, dict[int, Annotated[str, Field(pattern="^[0-9a-f]*$")]]]


class ProviderInfo(BaseModel):
    """A configured key provider and whether it can be used now."""

    name: str
    type: str
    default: bool
    recovery: bool
    available: bool
    reason: str


class Capabilities(BaseModel):
    """What this daemon can do. `create`: "available", or "unavailable: …" with the reason."""

    version: str
    create: str
    profiles: list[str]
    pcr_banks: list[str]
    key_providers: list[ProviderInfo]
    sandbox: str
    states: list[str]


class ProviderDetails(ProviderInfo):
    """`instances`: how many have their key there; `description`: what the provider tells."""

    instances: int
    description: dict[str, Any]


class ProviderList(BaseModel):
    """`not_configured`: providers that instances need and the configuration does not have."""

    providers: list[ProviderDetails]
    not_configured: list[str]


class RotateResult(BaseModel):
    """The KEK version that wraps from now on; instances get it when they are rekeyed."""

    provider: str
    key_version: str


class KeyringBackup(BaseModel):
    """The content of a backup file (base64) and the KEK versions in it."""

    backup: str
    key_versions: list[str]


class KeyImportResult(BaseModel):
    """How many KEK versions a provider did not have before."""

    provider: str
    added: int
