"""The key provider `vault`: KEKs in the Transit secrets engine of OpenBao or Vault."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast, get_args
from uuid import UUID

from vtpmd.storage.envelope import DEK_SIZE
from vtpmd.storage.slot import Slot
from vtpmd.storage.wipe import wipe

from ..errors import KeyRefusedError, KeyUnavailableError, NotOpenedError
from ..provider import TRIAL, Erased, KeyContext, NotErased, new_slot
from . import TYPE
from .session import Session
from .transit import KEY_NAME, Binding, Ciphertext, Transit, TransitKey

_ALGORITHM = "transit-"  # and the binding


class VaultProvider:
    """Wraps DEKs with keys of the engine mounted at `mount`.

    With `shared_key`, a name, all instances use that key, else each has its own, whose name is
    `key_prefix` and its UUID. A slot names its key itself, whatever is configured now; its
    algorithm is the parameter that binds it to the instance.
    """

    type = TYPE

    def __init__(
        self,
        name: str,
        session: Session,
        mount: str,
        key_prefix: str,
        shared_key: str | None,
    ) -> None:
        self.name = name
        self._session = session
        self._mount = mount
        self._transit = Transit(session, mount)
        self._key_prefix = key_prefix
        self._shared_key = shared_key

    def __repr__(self) -> str:
        return f"VaultProvider({self.name!r}, {self._session.url!r})"

    async def initialise(self) -> str | None:
        """Create nothing: the administrator of the server makes a shared key."""
        return None

    async def wrap(self, dek: bytes | bytearray, context: KeyContext) -> Slot:
        """Wrap under the shared key, or that of the instance, which is made if it is missing."""
        key = await self._kek(context.uuid)
        return self._slot(key, await self._transit.encrypt(key, dek, context.aad()))

    async def unwrap(self, slot: Slot, context: KeyContext) -> bytearray:
        """Unwrap with the key that the slot names."""
        with self._opening(slot, context) as (ciphertext, binding):
            return await self._transit.decrypt(slot.key_ref, ciphertext, binding, context.aad())

    async def rewrap(self, slot: Slot, context: KeyContext) -> Slot:
        """Wrap under the shared key's latest version, or under a new version of the instance's key.

        The server does it by itself if the key permits it; otherwise the DEK passes through here.
        """
        self._binding(slot)
        key = await self._kek(context.uuid)
        if self._shared_key is None:
            await self._transit.rotate(key.name)
        with self._opening(slot, context) as (ciphertext, binding):
            if (slot.key_ref, binding) == (key.name, key.binding) and binding == "context":
                fresh = await self._transit.rewrap(key.name, ciphertext, context.aad())
                return self._slot(key, fresh)
        dek = await self.unwrap(slot, context)
        try:
            return await self.wrap(dek, context)
        finally:
            wipe(dek)

    async def destroy(self, slot: Slot, context: KeyContext) -> Erased | NotErased:
        """Delete the instance's key with all its versions."""
        self._binding(slot)
        own = self._own_key(context.uuid)
        if slot.key_ref == self._shared_key:
            return NotErased.shared(self.name)
        if slot.key_ref != own:
            return NotErased.not_own(self.name, slot.key_ref, own)
        if await self._transit.find(own) is not None:
            await self._transit.delete(own)
        return Erased()

    async def describe(self) -> dict[str, Any]:
        """Name, type, server, login, and how its keys are used; the shared key's versions."""
        expiry = await self._session.certificate_expires()
        description: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "server": self._session.url,
            "auth": self._session.method,
            "mount": self._mount,
            "key_scope": "shared" if self._shared_key else "instance",
            **({} if expiry is None else {"certificate_expires": expiry.isoformat()}),
        }
        if self._shared_key is None:
            return {**description, "key_prefix": self._key_prefix}
        key = await self._kek(TRIAL.uuid)
        return {
            **description,
            "key_name": key.name,
            "binding": key.binding,
            "latest_version": key.latest,
            "oldest_version": key.oldest,
        }

    async def check(self) -> None:
        """Wrap a trial DEK under the shared key, or ask whether we may make keys and wrap."""
        if self._shared_key is not None:
            await self.wrap(bytes(DEK_SIZE), TRIAL)
        else:
            await self._transit.check_permitted(self._own_key(TRIAL.uuid))

    async def aclose(self) -> None:
        """Close the connections to the server."""
        await self._session.aclose()

    async def _kek(self, uuid: UUID) -> TransitKey:
        """The key to wrap with; encrypting with a missing key could make one by accident."""
        name = self._shared_key or self._own_key(uuid)
        key = await self._transit.find(name)
        if key is None and self._shared_key is None:
            await self._transit.create(name)
            key = await self._transit.find(name)
        if key is None:
            raise KeyUnavailableError(
                f"the Vault server {self._session.url} has no key {name} in {self._mount}: "
                f"make it, with derived=true",
                retry=False,
            )
        return key

    def _own_key(self, uuid: UUID) -> str:
        return f"{self._key_prefix}{uuid}"

    def _slot(self, key: TransitKey, ciphertext: Ciphertext) -> Slot:
        algorithm = f"{_ALGORITHM}{key.binding}"
        return new_slot(self, key.name, ciphertext.version, algorithm, ciphertext.text)

    def _binding(self, slot: Slot) -> Binding:
        """What binds the slot to its instance. Raises KeyRefusedError for a foreign slot."""
        for binding in get_args(Binding):
            if (slot.provider_type, slot.algorithm) == (self.type, f"{_ALGORITHM}{binding}"):
                return cast(Binding, binding)
        raise KeyRefusedError.foreign(self.name, slot)

    @contextmanager
    def _opening(self, slot: Slot, context: KeyContext) -> Iterator[tuple[Ciphertext, Binding]]:
        """Yields what a slot holds. Raises KeyRefusedError if it is not opened inside."""
        binding = self._binding(slot)
        if not re.fullmatch(KEY_NAME, slot.key_ref):
            raise KeyRefusedError(f"{slot.key_ref!r} cannot be the name of a key")
        try:
            yield Ciphertext.parse(slot.wrapped), binding
        except NotOpenedError:
            raise KeyRefusedError.unopened(slot.key_ref, context.uuid) from None
