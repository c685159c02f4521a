"""The key provider `aws-kms`: KEKs that never leave the AWS Key Management Service."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import trio

from vtpmd.storage.envelope import DEK_SIZE
from vtpmd.storage.slot import Slot

from ..errors import KeyRefusedError, KeyUnavailableError, NotOpenedError
from ..provider import PURPOSE, TRIAL, Erased, KeyContext, NotErased, new_slot
from ..words import printable
from . import TYPE
from .client import Client, NotFoundError

ALGORITHM = "SYMMETRIC_DEFAULT"
PENDING_DAYS = 7  # the shortest wait before a deletion that AWS offers
_PENDING = "PendingDeletion"


@dataclass(frozen=True)
class Key:
    """A key as the service describes it; `deletion`: when it will be deleted, if at all."""

    identifier: str
    arn: str
    state: str
    deletion: str


class AwsKmsProvider:
    """Wraps DEKs with symmetric keys of the service that `client` calls.

    With `shared_key` (id, ARN or alias) all instances use that key, else each has its own, whose
    alias is `key_prefix` and its UUID. A slot names its key by ARN and is bound to the
    instance by the encryption context, which AWS CloudTrail shows.
    """

    type = TYPE

    def __init__(self, name: str, client: Client, key_prefix: str, shared_key: str | None) -> None:
        self.name = name
        self._client = client
        self._key_prefix = key_prefix
        self._shared_key = shared_key
        self._making = trio.Lock()

    def __repr__(self) -> str:
        return f"AwsKmsProvider({self.name!r}, {self._client.address!r})"

    async def initialise(self) -> str | None:
        """Create nothing: the administrator makes a shared key, for which AWS charges."""
        return None

    async def wrap(self, dek: bytes | bytearray, context: KeyContext) -> Slot:
        """Wrap under the shared key, or that of the instance, which is made if it is missing."""
        key = await self._kek(context.uuid)
        with self._present(key):
            answer = await self._client.call(
                "encrypt",
                KeyId=key,
                Plaintext=bytes(dek),
                EncryptionContext=_bound_to(context),
                EncryptionAlgorithm=ALGORITHM,
            )
        return self._slot(answer)

    async def unwrap(self, slot: Slot, context: KeyContext) -> bytearray:
        """Unwrap with the key that the slot names."""
        self._check(slot)
        with self._opening(slot.key_ref, context):
            answer = await self._client.call(
                "decrypt",
                KeyId=slot.key_ref,
                CiphertextBlob=slot.wrapped,
                EncryptionContext=_bound_to(context),
                EncryptionAlgorithm=ALGORITHM,
            )
        dek = bytearray(self._client.read(answer, "Plaintext", bytes))
        if len(dek) != DEK_SIZE:
            raise self._client.nonsense(f"it gives {len(dek)} octets of plaintext, not {DEK_SIZE}")
        return dek

    async def rewrap(self, slot: Slot, context: KeyContext) -> Slot:
        """Have the service wrap under the current key; the DEK does not pass through here."""
        self._check(slot)
        key = await self._kek(context.uuid)
        with self._opening(slot.key_ref, context):
            answer = await self._client.call(
                "re_encrypt",
                SourceKeyId=slot.key_ref,
                CiphertextBlob=slot.wrapped,
                SourceEncryptionContext=_bound_to(context),
                SourceEncryptionAlgorithm=ALGORITHM,
                DestinationKeyId=key,
                DestinationEncryptionContext=_bound_to(context),
                DestinationEncryptionAlgorithm=ALGORITHM,
            )
        return self._slot(answer)

    async def destroy(self, slot: Slot, context: KeyContext) -> Erased | NotErased:
        """Schedule the deletion of the instance's own key; AWS deletes no key at once."""
        self._check(slot)
        if self._shared_key is not None:
            shared = await self._find(self._shared_key)
            if shared is None or shared.arn == slot.key_ref:
                return NotErased.shared(self.name)
        alias = self._alias(context.uuid)
        key = await self._find(alias)
        if key is None and await self._find(slot.key_ref) is None:
            return Erased()
        # Nothing authenticates a slot's key: only what bears the instance's name is destroyed.
        if key is None or key.arn != slot.key_ref:
            return NotErased.not_own(self.name, slot.key_ref, alias)
        if key.state != _PENDING:
            with self._present(key.arn):
                await self._client.call(
                    "schedule_key_deletion", KeyId=key.identifier, PendingWindowInDays=PENDING_DAYS
                )
            key = await self._find(key.arn) or key
        return NotErased(
            f"key {key.arn} opens nothing from now on, but AWS deletes it only at {key.deletion}: "
            "until then its deletion can be cancelled"
        )

    async def describe(self) -> dict[str, Any]:
        """Name, type, service and how its keys are used; the shared key and its state."""
        description: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "server": self._client.address,
            "key_scope": "shared" if self._shared_key else "instance",
        }
        if self._shared_key is None:
            return {**description, "key_prefix": self._key_prefix}
        key = await self._find(self._shared_key)
        if key is None:
            raise self._missing(self._shared_key)
        return {**description, "key_name": self._shared_key, "arn": key.arn, "state": key.state}

    async def check(self) -> None:
        """Wrap a trial DEK under the shared key, or ask for a key that cannot exist."""
        if self._shared_key is not None:
            await self.wrap(bytes(DEK_SIZE), TRIAL)
        else:
            await self._find(self._alias(TRIAL.uuid))

    async def aclose(self) -> None:
        """Close the connections to the service."""
        await self._client.aclose()

    async def _kek(self, uuid: UUID) -> str:
        """The key to wrap with."""
        if self._shared_key is not None:
            return self._shared_key
        alias = self._alias(uuid)
        async with self._making:  # concurrent calls would make two keys
            if await self._find(alias) is None:
                tags = [{"TagKey": "vtpmd-instance", "TagValue": str(uuid)}]
                with self._present(alias):
                    made = await self._client.call(
                        "create_key", Description=f"vTPM {uuid}", Tags=tags
                    )
                    arn = self._key(made).arn
                    await self._client.call("create_alias", AliasName=alias, TargetKeyId=arn)
        return alias

    def _alias(self, uuid: UUID) -> str:
        return f"alias/{self._key_prefix}{uuid}"

    async def _find(self, key: str) -> Key | None:
        try:
            answer = await self._client.call("describe_key", KeyId=key)
        except NotFoundError:
            return None
        return self._key(answer)

    def _key(self, answer: dict[str, Any]) -> Key:
        facts: dict[str, Any] = self._client.read(answer, "KeyMetadata", dict)
        names = ("KeyId", "Arn", "KeyState")
        identifier, arn, state = (self._client.read(facts, name, str) for name in names)
        deletion = printable(facts.get("DeletionDate", "a time unknown"))
        return Key(identifier, printable(arn), printable(state), deletion)

    @contextmanager
    def _present(self, key: str) -> Iterator[None]:
        """Raise KeyUnavailableError if the service does not have this key."""
        try:
            yield
        except NotFoundError:
            raise self._missing(key) from None

    @contextmanager
    def _opening(self, key: str, context: KeyContext) -> Iterator[None]:
        """Raise KeyRefusedError if this key does not open the slot."""
        try:
            with self._present(key):
                yield
        except NotOpenedError:
            raise KeyRefusedError.unopened(key, context.uuid) from None

    def _check(self, slot: Slot) -> None:
        if (slot.provider_type, slot.algorithm) != (self.type, ALGORITHM):
            raise KeyRefusedError.foreign(self.name, slot)

    def _slot(self, answer: dict[str, Any]) -> Slot:
        """The slot for an answer, without a version: AWS hides the versions of a rotated key."""
        key = self._client.read(answer, "KeyId", str)
        return new_slot(
            self, key, "", ALGORITHM, self._client.read(answer, "CiphertextBlob", bytes)
        )

    def _missing(self, key: str) -> KeyUnavailableError:
        return KeyUnavailableError(
            f"AWS KMS at {self._client.address} has no key {key}", retry=False
        )


def _bound_to(context: KeyContext) -> dict[str, str]:
    """The encryption context: the same facts as `KeyContext.aad`, as texts."""
    return {
        "purpose": PURPOSE,
        "instance": str(context.uuid),
        "dek": context.dek_id.hex(),
    }
