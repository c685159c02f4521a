"""The AWS KMS provider with a moto server: contract, encryption context, own keys, deletion.

moto knows no key states: what it does with disabled keys is in `test_faults`.
"""

import sys
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import trio

from tests.kms import configured
from tests.kms.aws_kms.conftest import REGION, Opener
from tests.kms.reasons import reason
from tests.kms.wrapping import DEK
from vtpmd.kms.contract import KeyProviderContract
from vtpmd.kms.errors import KeyRefusedError
from vtpmd.kms.provider import Erased, KeyContext, KeyProvider, NotErased

MOTO_HEADER = 36


@pytest.fixture
def context() -> KeyContext:
    return KeyContext(uuid4(), bytes(range(16)))


def in_words(context: KeyContext) -> dict[str, str]:
    """The encryption context as documented."""
    return {
        "purpose": "vtpmd-dek-v1",
        "instance": str(context.uuid),
        "dek": context.dek_id.hex(),
    }


class Contract(KeyProviderContract):
    """What every provider must pass, as far as moto is like AWS."""

    async def test_damaged_slot_is_refused(self) -> None:
        """moto's ciphertexts begin with a key's id, and it says of damage there: access denied."""
        provider, dek, context = await self._setting()
        slot = await provider.wrap(dek, context)
        first, last = slot.wrapped[MOTO_HEADER], slot.wrapped[-1]
        for wrapped in (
            slot.wrapped[:MOTO_HEADER] + bytes([first ^ 1]) + slot.wrapped[MOTO_HEADER + 1 :],
            slot.wrapped[:-1] + bytes([last ^ 1]),
            slot.wrapped[:-1],
            slot.wrapped + b"\0",
        ):
            with pytest.raises(KeyRefusedError):
                await provider.unwrap(replace(slot, wrapped=wrapped), context)


class TestContractWithSharedKey(Contract):
    """All instances share a key."""

    @pytest.fixture(autouse=True)
    def _place(self, moto: str, opened: Opener, key: str) -> None:
        self._open, self._arguments = opened, (moto, key)

    async def open_provider(self) -> KeyProvider:
        return self._open(*self._arguments)


class TestContractWithKeysOfInstances(Contract):
    """Every instance has a key of its own."""

    @pytest.fixture(autouse=True)
    def _place(self, moto: str, opened: Opener) -> None:
        self._open, self._moto = opened, moto

    async def open_provider(self) -> KeyProvider:
        return self._open(self._moto)


async def test_slot_opens_with_its_encryption_context(
    moto: str, opened: Opener, key: str, administrator: Any, context: KeyContext
) -> None:
    slot = await opened(moto, key).wrap(DEK, context)
    assert (slot.key_ref, slot.key_version, slot.algorithm) == (key, "", "SYMMETRIC_DEFAULT")
    answer = administrator.decrypt(CiphertextBlob=slot.wrapped, EncryptionContext=in_words(context))
    assert answer["Plaintext"] == DEK


async def test_alias_names_the_key_of_now_and_slots_their_own(
    moto: str, opened: Opener, key: str, administrator: Any, context: KeyContext
) -> None:
    alias = f"alias/{uuid4()}"
    administrator.create_alias(AliasName=alias, TargetKeyId=key)
    provider = opened(moto, alias)
    old = await provider.wrap(DEK, context)
    other = administrator.create_key()["KeyMetadata"]["Arn"]
    administrator.update_alias(AliasName=alias, TargetKeyId=other)
    new = await provider.rewrap(old, context)
    assert (old.key_ref, new.key_ref) == (key, other)
    assert await provider.unwrap(old, context) == DEK
    assert await provider.unwrap(new, context) == DEK


async def test_instances_key_is_made_once(
    moto: str, opened: Opener, administrator: Any, context: KeyContext
) -> None:
    provider = opened(moto)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(provider.wrap, DEK, context)
    alias = f"alias/vtpmd-{context.uuid}"
    found = administrator.describe_key(KeyId=alias)["KeyMetadata"]
    assert found["Arn"] == (await provider.wrap(DEK, context)).key_ref
    tags = administrator.list_resource_tags(KeyId=found["KeyId"])["Tags"]
    assert tags == [{"TagKey": "vtpmd-instance", "TagValue": str(context.uuid)}]
    keys = [
        administrator.describe_key(KeyId=each["KeyId"])["KeyMetadata"]["Description"]
        for each in administrator.list_keys(Limit=1000)["Keys"]
    ]
    assert keys.count(f"vTPM {context.uuid}") == 1


async def test_deletion_of_an_instances_key_is_scheduled_and_not_called_done(
    moto: str, opened: Opener, administrator: Any, context: KeyContext
) -> None:
    provider = opened(moto)
    slot = await provider.wrap(DEK, context)
    outcome = await provider.destroy(slot, context)
    found = administrator.describe_key(KeyId=slot.key_ref)["KeyMetadata"]
    assert found["KeyState"] == "PendingDeletion"
    assert outcome == NotErased(
        f"key {slot.key_ref} opens nothing from now on, but AWS deletes it only at "
        f"{found['DeletionDate']}: until then its deletion can be cancelled"
    )
    assert await provider.destroy(slot, context) == outcome


async def test_key_that_is_gone_is_erased(moto: str, opened: Opener, context: KeyContext) -> None:
    provider = opened(moto)
    slot = await provider.wrap(DEK, context)
    gone = replace(slot, key_ref=slot.key_ref[:-36] + str(uuid4()))
    assert await provider.destroy(gone, replace(context, uuid=uuid4())) == Erased()
    assert "has no key" in await reason(provider.unwrap(gone, context))


async def test_a_slot_cannot_have_the_key_of_another_deleted(
    moto: str, opened: Opener, administrator: Any, context: KeyContext
) -> None:
    provider = opened(moto)
    slot = await provider.wrap(DEK, context)
    other = replace(context, uuid=uuid4())
    await provider.wrap(DEK, other)
    for attacker in (other, replace(context, uuid=uuid4())):
        outcome = await provider.destroy(slot, attacker)
        assert isinstance(outcome, NotErased)
        assert "others may need it" in outcome.reason
    state = administrator.describe_key(KeyId=slot.key_ref)["KeyMetadata"]["KeyState"]
    assert state == "Enabled"


async def test_shared_key_is_never_deleted(
    moto: str, opened: Opener, key: str, administrator: Any, context: KeyContext
) -> None:
    provider = opened(moto, key)
    slot = await provider.wrap(DEK, context)
    assert await provider.destroy(slot, context) == NotErased.shared("aws1")
    assert administrator.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"


async def test_key_of_an_instance_is_deleted_whatever_new_ones_use(
    moto: str, opened: Opener, key: str, administrator: Any, context: KeyContext
) -> None:
    slot = await opened(moto).wrap(DEK, context)
    outcome = await opened(moto, key).destroy(slot, context)
    assert isinstance(outcome, NotErased)
    assert "until then its deletion can be cancelled" in outcome.reason
    state = administrator.describe_key(KeyId=slot.key_ref)["KeyMetadata"]["KeyState"]
    assert state == "PendingDeletion"


async def test_missing_key_is_told(moto: str, opened: Opener, context: KeyContext) -> None:
    absent = f"arn:aws:kms:{REGION}:123456789012:key/{uuid4()}"
    provider = opened(moto, absent)
    for attempt in (provider.check(), provider.wrap(DEK, context), provider.describe()):
        assert (await reason(attempt)).endswith(f"has no key {absent}")


def test_without_botocore_the_configuration_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    settings = {"type": "aws-kms", "name": "aws1", "region": REGION, "key_name": "alias/vtpmd"}
    (problem,) = configured.problems(settings)
    assert problem.endswith("needs the package botocore: pip install 'vtpmd[aws]'")
