"""The interface of key providers, which wrap and unwrap DEKs and see nothing else."""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

from vtpmd.encoding import cbor
from vtpmd.storage.envelope import DEK_ID_SIZE
from vtpmd.storage.slot import Slot

from .errors import KeyUnavailableError

PURPOSE = "vtpmd-dek-v1"
"""The use that wrapped DEKs are bound to, in addition to the instance and the DEK's id."""


@dataclass(frozen=True)
class Erased:
    """The KEK of a slot is destroyed: no copy of the slot can be opened any more."""


@dataclass(frozen=True)
class NotErased:
    """The KEK of a slot still exists; `reason` tells a person why."""

    reason: str

    @classmethod
    def not_own(cls, provider: str, kek: str, own: str) -> "NotErased":
        """The answer of `provider` if `kek` is not `own`, the name of the instance's key."""
        return cls(
            f"key {kek} of key provider {provider} is not {own}, this instance's own: "
            "others may need it"
        )

    @classmethod
    def shared(cls, provider: str) -> "NotErased":
        """The answer of a `provider` whose KEKs protect more than one instance."""
        return cls(
            f"the keys of key provider {provider} are shared by its instances: what this one had "
            "can be opened for as long as a copy of its state and the key exist"
        )


@dataclass(frozen=True)
class KeyContext:
    """What a wrapped DEK is bound to: the instance and the id (16 octets) of the DEK."""

    uuid: UUID
    dek_id: bytes

    def aad(self) -> bytes:
        """The additional authenticated data of the wrapping: deterministic CBOR."""
        return cbor.encode([PURPOSE, self.uuid.bytes, self.dek_id])


TRIAL = KeyContext(UUID(int=0), bytes(DEK_ID_SIZE))
"""The context of a DEK that a provider wraps only to see whether it can; no instance has it."""


class KeyProvider(Protocol):
    """One configured source of KEKs. Implementations pass `contract.KeyProviderContract`.

    Methods raise KeyUnavailableError or KeyRefusedError and nothing else. They may be cancelled,
    and called concurrently.
    """

    @property
    def name(self) -> str:
        """The name in the configuration."""

    @property
    def type(self) -> str:
        """The type in the configuration, which is also the name of the entry point."""

    async def initialise(self) -> str | None:
        """Create what the provider needs and lacks, if it can.

        Called when the daemon has no instances. Returns a note for the log if something was
        created that the administrator must know of, else None.
        """

    async def wrap(self, dek: bytes | bytearray, context: KeyContext) -> Slot:
        """Wrap `dek` (32 octets) under the current KEK, bound to `context`."""

    async def unwrap(self, slot: Slot, context: KeyContext) -> bytearray:
        """Return the DEK in `slot`; the caller wipes it."""

    async def rewrap(self, slot: Slot, context: KeyContext) -> Slot:
        """Return a slot with the same DEK under the current KEK."""

    async def destroy(self, slot: Slot, context: KeyContext) -> Erased | NotErased:
        """Destroy the KEK of `slot` permanently, if only this instance uses it.

        Every other slot under that KEK is lost with it, those of backups included. Erased as well
        if it is destroyed already. Providers whose KEKs several instances share never destroy one:
        they return `NotErased.shared`.
        """

    async def describe(self) -> dict[str, Any]:
        """What `vtpmctl provider` shows: JSON types, no secret."""

    async def check(self) -> None:
        """Raise KeyUnavailableError unless `wrap` would work now."""

    async def aclose(self) -> None:
        """Close connections and end processes; the next call opens them again."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def type(self) -> str: ...


def new_slot(
    provider: _Named, key_ref: str, key_version: str, algorithm: str, wrapped: bytes
) -> Slot:
    """Return the slot for a DEK that `provider` has just wrapped.

    Raises KeyUnavailableError if a slot cannot hold what the service answered.
    """
    created = int(time.time())
    try:
        return Slot(provider.type, provider.name, key_ref, key_version, algorithm, wrapped, created)
    except ValueError as error:
        raise KeyUnavailableError(
            f"what key provider {provider.name} was given is {error}", retry=False
        ) from None


@dataclass(frozen=True)
class KeyBackup:
    """The content of a backup file, and the ids of the KEK versions in it."""

    data: bytes = field(repr=False)
    versions: tuple[str, ...]


@runtime_checkable
class KeyHolder(Protocol):
    """A key provider that stores its KEKs itself, so that vtpmd rotates and saves them.

    Methods raise KeyProviderError.
    """

    async def rotate(self) -> str:
        """Add a KEK version, which wraps from now on, and return its id."""

    async def backup(self, passphrase: str) -> KeyBackup:
        """Return all KEKs, encrypted under the passphrase."""

    async def note_backup(self, versions: Collection[str]) -> None:
        """Record that these versions are saved: their backup file has been written."""

    async def restore(self, data: bytes, passphrase: str) -> int:
        """Add the KEKs of a backup and return how many were new."""
