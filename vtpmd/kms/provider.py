"""What a key provider is: it wraps and unwraps DEKs, and never sees anything else."""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

from vtpmd.storage import cbor
from vtpmd.storage.envelope import DEK_ID_SIZE
from vtpmd.storage.slot import Slot

from .errors import KeyUnavailableError

PURPOSE = "vtpmd-dek-v1"
"""What wrapped DEKs are bound to, besides instance and DEK."""


@dataclass(frozen=True)
class Erased:
    """The KEK of a slot is destroyed: nobody opens the slot again, whatever copy they have."""


@dataclass(frozen=True)
class NotErased:
    """The KEK of a slot is still there; `reason` says why, for a person to read."""

    reason: str

    @classmethod
    def not_own(cls, provider: str, kek: str, own: str) -> "NotErased":
        """What `provider` answers if `kek` is not `own`, the name of the instance's key."""
        return cls(
            f"key {kek} of key provider {provider} is not {own}, this instance's own: "
            "others may need it"
        )

    @classmethod
    def shared(cls, provider: str) -> "NotErased":
        """What `provider` answers whose KEKs protect more than one instance."""
        return cls(
            f"the keys of key provider {provider} are shared by its instances: what this one had "
            "can be opened for as long as a copy of its state and the key exist"
        )


@dataclass(frozen=True)
class KeyContext:
    """What a wrapped DEK is bound to: the instance and the id (16 bytes) of the DEK."""

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
        """Create what the provider needs and does not have yet, if it can.

        Called when the daemon has no instances. Returns a note for the log if something was
        created that somebody must know of, else None.
        """

    async def wrap(self, dek: bytes | bytearray, context: KeyContext) -> Slot:
        """Wrap `dek` (32 bytes) under the current KEK, bound to `context`."""

    async def unwrap(self, slot: Slot, context: KeyContext) -> bytearray:
        """Return the DEK in `slot`; the caller wipes it."""

    async def rewrap(self, slot: Slot, context: KeyContext) -> Slot:
        """Return a slot with the same DEK under the current KEK."""

    async def destroy(self, slot: Slot, context: KeyContext) -> Erased | NotErased:
        """Destroy the KEK of `slot` for ever, if it is the KEK of this instance alone.

        Every other slot under that KEK is lost with it, those of backups included. Erased as well
        if it is destroyed already. Providers whose KEKs several instances share never destroy one:
        they return `NotErased.shared`.
        """

    async def describe(self) -> dict[str, Any]:
        """What `vtpmctl provider` shows: JSON types, no secret."""

    async def check(self) -> None:
        """Raise KeyUnavailableError unless `wrap` would work now."""

    async def aclose(self) -> None:
        """Close connections and end processes, if there are any; another call opens them anew."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def type(self) -> str: ...


def new_slot(
    provider: _Named, key_ref: str, key_version: str, algorithm: str, wrapped: bytes
) -> Slot:
    """The slot for what `provider` has wrapped just now.

    Raises KeyUnavailableError if it can be none: a service answered what nobody can keep.
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
    """A key provider that keeps its KEKs itself: they are rotated and saved through vtpmd.

    Methods raise KeyProviderError.
    """

    async def rotate(self) -> str:
        """Add a fresh KEK version, which wraps from now on; its id."""

    async def backup(self, passphrase: str) -> KeyBackup:
        """All KEKs, to be opened with the passphrase only."""

    async def note_backup(self, versions: Collection[str]) -> None:
        """These versions are safe: the file they are in has been written."""

    async def restore(self, data: bytes, passphrase: str) -> int:
        """Add the KEKs of a backup; how many were new."""
