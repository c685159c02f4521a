"""The vault provider with a real OpenBao server: contract, binding, rotation, deletion, logins."""

import base64
from dataclasses import replace
from typing import ClassVar
from uuid import UUID, uuid4

import cbor2
import pytest

from tests.kms.reasons import reason
from tests.kms.vault.bao import SHARED_POLICY, Bao, RefusedError
from tests.kms.vault.conftest import Opener
from tests.kms.wrapping import DEK
from vtpmd.kms.contract import KeyProviderContract
from vtpmd.kms.errors import KeyRefusedError
from vtpmd.kms.provider import Erased, KeyContext, KeyProvider, NotErased
from vtpmd.storage.slot import Slot

CONTEXT = KeyContext(UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), bytes(range(16)))
OWN_KEY = f"vtpmd-{CONTEXT.uuid}"
AAD = cbor2.dumps(["vtpmd-dek-v1", CONTEXT.uuid.bytes, CONTEXT.dek_id], canonical=True)


@pytest.fixture
def plain_key(bao: Bao) -> None:
    """The key `vtpmd` is one without derivation."""
    bao.delete("vtpmd")
    bao.ask("POST", "transit/keys/vtpmd", {"derived": False})


class Contract(KeyProviderContract):
    """Every way to use the server passes what every provider must pass."""

    settings: ClassVar[dict[str, str]]

    @pytest.fixture(autouse=True)
    def _place(self, bao: Bao, opened: Opener) -> None:
        self._bao, self._opened = bao, opened

    async def open_provider(self) -> KeyProvider:
        return self._opened(self._bao, **self.settings)


class TestContractWithDerivedKey(Contract):
    """All instances share a key that can be derived from."""

    settings: ClassVar = {"key_name": "vtpmd"}


@pytest.mark.usefixtures("plain_key")
class TestContractWithPlainKey(Contract):
    """All instances share a key that takes associated data."""

    settings: ClassVar = {"key_name": "vtpmd"}


class TestContractWithKeysOfInstances(Contract):
    """Every instance has a key of its own."""

    settings: ClassVar = {}


def raw_decrypt(bao: Bao, slot: Slot, **binding: bytes) -> bytes:
    """What the server makes of a slot, asked without our code."""
    body = {name: base64.b64encode(value).decode() for name, value in binding.items()}
    body["ciphertext"] = slot.wrapped.decode()
    answer = bao.ask("POST", f"transit/decrypt/{slot.key_ref}", body)
    return base64.b64decode(answer["data"]["plaintext"])


async def test_derived_key_is_bound_by_context(bao: Bao, opened: Opener) -> None:
    slot = await opened(bao, key_name="vtpmd").wrap(DEK, CONTEXT)
    assert (slot.key_ref, slot.key_version, slot.algorithm) == ("vtpmd", "1", "transit-context")
    assert raw_decrypt(bao, slot, context=AAD) == DEK


@pytest.mark.usefixtures("plain_key")
async def test_plain_key_is_bound_by_associated_data(bao: Bao, opened: Opener) -> None:
    slot = await opened(bao, key_name="vtpmd").wrap(DEK, CONTEXT)
    assert slot.algorithm == "transit-associated_data"
    assert raw_decrypt(bao, slot, associated_data=AAD) == DEK
    with pytest.raises(RefusedError, match="authentication failed"):
        raw_decrypt(bao, slot)


async def test_rewrap_of_a_derived_key_is_done_by_the_server(bao: Bao, opened: Opener) -> None:
    provider = opened(bao, key_name="vtpmd")
    old = await provider.wrap(DEK, CONTEXT)
    bao.ask("POST", "transit/keys/vtpmd/rotate", {})
    # Nobody may decrypt: the DEK cannot have passed through here.
    with bao.policy("shared", SHARED_POLICY.replace("decrypt", "no")):
        new = await provider.rewrap(old, CONTEXT)
    assert (old.key_version, new.key_version) == ("1", "2")
    assert raw_decrypt(bao, new, context=AAD) == DEK


@pytest.mark.usefixtures("plain_key")
async def test_rewrap_of_a_plain_key_takes_its_new_version(bao: Bao, opened: Opener) -> None:
    provider = opened(bao, key_name="vtpmd")
    old = await provider.wrap(DEK, CONTEXT)
    bao.ask("POST", "transit/keys/vtpmd/rotate", {})
    new = await provider.rewrap(old, CONTEXT)
    assert (old.key_version, new.key_version) == ("1", "2")
    assert raw_decrypt(bao, new, associated_data=AAD) == DEK
    assert await provider.unwrap(old, CONTEXT) == DEK


async def test_rewrap_moves_to_the_key_that_is_configured_now(bao: Bao, opened: Opener) -> None:
    shared = await opened(bao, key_name="vtpmd").wrap(DEK, CONTEXT)
    everything = {"method": "token", "token_file": str(bao.root_token_file)}
    moved = await opened(bao, auth=everything).rewrap(shared, CONTEXT)
    assert moved.key_ref == OWN_KEY
    assert raw_decrypt(bao, moved, context=AAD) == DEK


async def test_rewrap_gives_the_key_of_an_instance_another_version(
    bao: Bao, opened: Opener
) -> None:
    provider = opened(bao)
    context = replace(CONTEXT, uuid=uuid4())
    old = await provider.wrap(DEK, context)
    new = await provider.rewrap(old, context)
    assert (old.key_version, new.key_version) == ("1", "2")
    assert raw_decrypt(bao, new, context=context.aad()) == DEK


async def test_key_of_an_instance_is_deleted_with_all_versions(bao: Bao, opened: Opener) -> None:
    provider = opened(bao)
    context = replace(CONTEXT, uuid=uuid4())
    slot = await provider.wrap(DEK, context)
    assert slot.key_ref == f"vtpmd-{context.uuid}"
    assert await provider.destroy(slot, context) == Erased()
    with pytest.raises(RefusedError, match="404"):
        bao.ask("GET", f"transit/keys/{slot.key_ref}")
    assert "deleted, or never made" in await reason(provider.unwrap(slot, context))
    assert await provider.destroy(slot, context) == Erased()


async def test_a_slot_cannot_have_the_key_of_another_deleted(bao: Bao, opened: Opener) -> None:
    provider = opened(bao)
    victim = replace(CONTEXT, uuid=uuid4())
    slot = await provider.wrap(DEK, victim)
    assert isinstance(await provider.destroy(slot, CONTEXT), NotErased)
    assert await provider.unwrap(slot, victim) == DEK


async def test_missing_shared_key_is_told_and_not_made(bao: Bao, opened: Opener) -> None:
    everything = {"method": "token", "token_file": str(bao.root_token_file)}
    provider = opened(bao, key_name="absent", auth=everything)
    assert await provider.initialise() is None
    for attempt in (provider.check(), provider.wrap(DEK, CONTEXT), provider.describe()):
        assert "has no key absent in transit: make it" in await reason(attempt)
    with pytest.raises(RefusedError, match="404"):
        bao.ask("GET", "transit/keys/absent")


async def test_key_that_cannot_be_bound_is_refused(bao: Bao, opened: Opener) -> None:
    bao.delete("vtpmd")
    bao.ask("POST", "transit/keys/vtpmd", {"type": "rsa-2048"})
    why = await reason(opened(bao, key_name="vtpmd").check())
    assert "a key vtpmd of type rsa-2048, which cannot be bound to instances" in why


async def test_missing_engine_is_told(bao: Bao, opened: Opener) -> None:
    everything = {"method": "token", "token_file": str(bao.root_token_file)}
    provider = opened(bao, key_name="vtpmd", mount="elsewhere", auth=everything)
    assert "has no secrets engine at elsewhere" in await reason(provider.check())


async def test_version_that_is_too_old_is_told(bao: Bao, opened: Opener) -> None:
    provider = opened(bao, key_name="vtpmd")
    slot = await provider.wrap(DEK, CONTEXT)
    bao.ask("POST", "transit/keys/vtpmd/rotate", {})
    bao.ask("POST", "transit/keys/vtpmd/config", {"min_decryption_version": 2})
    for attempt in (provider.unwrap(slot, CONTEXT), provider.rewrap(slot, CONTEXT)):
        assert "no longer opens this version" in await reason(attempt)
    description = await provider.describe()
    assert (description["oldest_version"], description["latest_version"]) == (2, 2)


async def test_version_that_the_server_lost_is_told(bao: Bao, opened: Opener) -> None:
    provider = opened(bao, key_name="vtpmd")
    bao.ask("POST", "transit/keys/vtpmd/rotate", {})
    slot = await provider.wrap(DEK, CONTEXT)
    bao.delete("vtpmd")
    assert "does not exist" in await reason(provider.unwrap(slot, CONTEXT))
    bao.ask("POST", "transit/keys/vtpmd", {"derived": True})
    assert "was an older backup restored?" in await reason(provider.unwrap(slot, CONTEXT))


@pytest.mark.parametrize("key_ref", ["../sys/seal", "vtpmd/../x", "a?b", "vtpmd ", "", "a/b"])
async def test_slot_cannot_name_another_path(bao: Bao, opened: Opener, key_ref: str) -> None:
    provider = opened(bao, key_name="vtpmd")
    slot = replace(await provider.wrap(DEK, CONTEXT), key_ref=key_ref)
    with pytest.raises(KeyRefusedError, match="cannot be the name of a key"):
        await provider.unwrap(slot, CONTEXT)
