"""The JSON of the admin interface: what requests may say and what answers tell."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from vtpmd.config.schema import PcrBanks, Profile


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


class WorkerInfo(BaseModel):
    """What a running worker says about itself; `tpm` is its power.

    `storage`: "available", or why the TPM answers TPM_RC_NV_UNAVAILABLE.
    """

    pid: int
    tpm: Literal["off", "on", "failed"]
    generation: int
    clients: int
    commands: int
    storage: str
    sandbox: dict[str, str]


class InstanceInfo(BaseModel):
    """One instance. `since`: when it came into its state; `reason`: why it is in it."""

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
    worker: WorkerInfo | None = None


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
