"""The key provider `kmip`: KEKs at a key management server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from vtpmd.storage.slot import Slot
from vtpmd.storage.wipe import wipe

from .. import gcm
from ..errors import KeyRefusedError, KeyUnavailableError, NotOpenedError
from ..provider import Erased, KeyContext, NotErased, new_slot
from ..tls import Credentials, CredentialsError
from ..words import printable
from . import TYPE, operations
from .client import Client
from .constants import Operation, ResultReason
from .keys import InstanceKeys, Kek, Keys, SharedKey
from .messages import OperationFailedError, shown
from .wrapping import Delegating, Fetching, Mode, Wrapping

_WRAPPINGS: dict[Mode, type[Fetching] | type[Delegating]] = {
    "get": Fetching,
    "encrypt": Delegating,
}
_NEEDED = frozenset({
    Operation.LOCATE, Operation.GET_ATTRIBUTES, Operation.CREATE, Operation.ACTIVATE,
})  # fmt: skip
_MAY_PASS = (ResultReason.GENERAL_FAILURE, ResultReason.OPERATION_CANCELED_BY_REQUESTER)


class KmipProvider:
    """Wraps DEKs with AES-256-GCM under keys of the server that `client` speaks to.

    `mode`: `get` fetches a KEK for every use, `encrypt` has the server use it. With
    `shared_key`, a name, all instances use that key, else each has its own, whose name begins
    with `key_prefix`. A slot names its key itself, whatever is configured now.
    """

    type = TYPE

    def __init__(
        self,
        name: str,
        client: Client,
        credentials: Credentials,
        mode: Mode,
        key_prefix: str,
        shared_key: str | None,
    ) -> None:
        self.name = name
        self._client = client
        self._credentials = credentials
        self._mode = mode
        self._wrapping: Wrapping = _WRAPPINGS[mode](client)
        self._keys = Keys(client, self._wrapping.sensitive)
        self._own = InstanceKeys(self._keys, key_prefix)
        self._shared = SharedKey(self._keys, shared_key) if shared_key else None
        self._making = trio.Lock()

    def __repr__(self) -> str:
        return f"KmipProvider({self.name!r}, {self._client.server!r})"

    async def initialise(self) -> str | None:
        """Create the shared key, if one is configured and the server has no key of that name."""
        if self._shared is None:
            return None
        with self._explained():
            made = await self._shared.make()
        return (
            f"created a key at the KMIP server {self._client.server}: back it up" if made else None
        )

    async def wrap(self, dek: bytes | bytearray, context: KeyContext) -> Slot:
        """Wrap under the shared key, or the newest key of the instance, made if it is missing."""
        with self._explained():
            return await self._wrap(dek, context)

    async def unwrap(self, slot: Slot, context: KeyContext) -> bytearray:
        """Unwrap with the key that the slot names, if it is Active."""
        with self._explained():
            return await self._unwrap(slot, context)

    async def rewrap(self, slot: Slot, context: KeyContext) -> Slot:
        """Unwrap, and wrap under the shared key or a new key of the instance."""
        with self._explained():
            dek = await self._unwrap(slot, context)
            try:
                return await self._wrap(dek, context, self._own.version(context.uuid, slot.key_ref))
            finally:
                wipe(dek)

    async def destroy(self, slot: Slot, context: KeyContext) -> Erased | NotErased:
        """Revoke and destroy all keys of the instance: older ones open older copies of its DEK."""
        self._check(slot)
        version = self._own.version(context.uuid, slot.key_ref)
        if version is None and self._shared is not None:
            return NotErased.shared(self.name)
        if version is None:
            return NotErased.not_own(self.name, slot.key_ref, self._own.base(context.uuid))
        with self._explained():
            keys = await self._own.all(context.uuid, version)
            # Nothing authenticates a slot's key: only what bears the instance's name is destroyed.
            if slot.key_version not in keys and await self._keys.exists(slot.key_version):
                return NotErased(
                    f"key {slot.key_version} at the KMIP server {self._client.server} is not "
                    f"named {slot.key_ref}: destroy it there if it is this instance's"
                )
            for identifier, state in keys.items():
                await self._keys.destroy(identifier, state)
        return Erased()

    async def describe(self) -> dict[str, Any]:
        """Name, type, server, how its keys are used, and when the client certificate expires."""
        with self._explained():
            versions = await self._client.call(operations.discover_versions())
            server = await self._client.call(operations.query())
            expiry = await trio.to_thread.run_sync(self._credentials.expiry)
        return {
            "name": self.name,
            "type": self.type,
            "server": self._client.server,
            "vendor": printable(server.vendor),
            "versions": [shown(version) for version in versions],
            "mode": self._mode,
            "key_scope": "shared" if self._shared else "instance",
            "certificate_expires": expiry and expiry.isoformat(),
        }

    async def check(self) -> None:
        """Check that the server offers the operations needed, and that the shared key is usable."""
        with self._explained():
            server = await self._client.call(operations.query())
            if missing := sorted((_NEEDED | self._wrapping.needs) - server.operations):
                raise KeyUnavailableError(
                    f"the KMIP server {self._client.server} does not offer "
                    f"{', '.join(str(Operation(operation)) for operation in missing)}",
                    retry=False,
                )
            if self._shared is not None:
                await self._shared.find()

    async def aclose(self) -> None:
        """Close the connections to the server."""
        await self._client.aclose()

    async def _wrap(
        self, dek: bytes | bytearray, context: KeyContext, replaced: int | None = 0
    ) -> Slot:
        kek = await self._kek(context, (replaced or 0) + 1)
        wrapped = await self._wrapping.wrap(kek.identifier, dek, context.aad())
        return new_slot(self, kek.name, kek.identifier, gcm.ALGORITHM, wrapped)

    async def _kek(self, context: KeyContext, version: int) -> Kek:
        """The KEK to wrap with: of the instance's keys one of this version or newer."""
        if self._shared is not None:
            return await self._shared.find()
        async with self._making:  # concurrent calls would make two keys of the same name
            return await self._own.newest(context.uuid, version)

    async def _unwrap(self, slot: Slot, context: KeyContext) -> bytearray:
        self._check(slot)
        await self._keys.check_active(slot.key_version)
        try:
            return await self._wrapping.unwrap(slot.key_version, slot.wrapped, context.aad())
        except NotOpenedError:
            raise KeyRefusedError.unopened(slot.key_version, context.uuid) from None

    def _check(self, slot: Slot) -> None:
        if (slot.provider_type, slot.algorithm) != (self.type, gcm.ALGORITHM):
            raise KeyRefusedError.foreign(self.name, slot)
        if not slot.key_version:
            raise KeyRefusedError(f"a slot of key provider {self.name} names no key")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OperationFailedError as error:
            raise KeyUnavailableError(
                f"the KMIP server {self._client.server} {error}", retry=error.reason in _MAY_PASS
            ) from None
        except CredentialsError as error:
            raise KeyUnavailableError(str(error), retry=False) from None
