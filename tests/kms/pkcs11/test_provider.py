"""The pkcs11 provider with SoftHSM: the contract, whose key is whose, and what keys may do."""

import hashlib
import json
import os
from dataclasses import replace
from uuid import uuid4

import cbor2
import pytest
import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding

from tests.kms.pkcs11.conftest import OpenProvider
from tests.kms.pkcs11.softhsm import PIN, Token
from tests.kms.wrapping import DEK, fresh_context, rewrapped_twice
from vtpmd.kms.contract import KeyProviderContract
from vtpmd.kms.errors import KeyRefusedError, KeyUnavailableError
from vtpmd.kms.provider import Erased, KeyContext, KeyProvider, NotErased

MECHANISMS = ("gcm", "key-wrap")


def aad(context: KeyContext) -> bytes:
    return cbor2.dumps(["vtpmd-dek-v1", context.uuid.bytes, context.dek_id], canonical=True)


@pytest.mark.parametrize(
    ("mechanism", "key_scope"), [("gcm", "instance"), ("gcm", "shared"), ("key-wrap", "instance")]
)
class TestContract(KeyProviderContract):
    """Every way to use a token passes what every provider must pass."""

    @pytest.fixture(autouse=True)
    def _prepare(self, open_provider: OpenProvider, mechanism: str, key_scope: str) -> None:
        self._open_provider = open_provider
        self._settings = {"mechanism": mechanism, "key_scope": key_scope}
        if key_scope == "shared":
            self._settings["key_name"] = f"shared-{uuid4()}"

    async def open_provider(self) -> KeyProvider:
        return self._open_provider(**self._settings)


async def test_wrapping_is_recomputed_independently(
    open_provider: OpenProvider, shared_token: Token
) -> None:
    kek, name = os.urandom(32), f"known-{uuid4()}"
    shared_token.import_key(name, kek, ID="0a0b")
    context = fresh_context()
    known = {"key_scope": "shared", "key_name": name}
    slot = await open_provider(mechanism="gcm", **known).wrap(DEK, context)
    assert (slot.key_ref, slot.key_version, slot.algorithm) == (name, "0a0b", "A256GCM")
    assert AESGCM(kek).decrypt(slot.wrapped[:12], slot.wrapped[12:], aad(context)) == DEK
    slot = await open_provider(mechanism="key-wrap", **known).wrap(DEK, context)
    assert (slot.key_ref, slot.key_version, slot.algorithm) == (name, "0a0b", "A256KWP-SHA256")
    bound = DEK + hashlib.sha256(aad(context)).digest()
    assert aes_key_unwrap_with_padding(kek, slot.wrapped) == bound


async def test_a_slot_says_itself_how_it_is_opened(open_provider: OpenProvider) -> None:
    for wrapping, opening in (MECHANISMS, MECHANISMS[::-1]):
        context = fresh_context()
        slot = await open_provider(mechanism=wrapping).wrap(DEK, context)
        other = open_provider(mechanism=opening, key_scope="shared", key_name="unused")
        assert await other.unwrap(slot, context) == DEK


async def test_the_two_ways_are_not_taken_for_each_other(open_provider: OpenProvider) -> None:
    provider, context = open_provider(mechanism="gcm"), fresh_context()
    slot = await provider.wrap(DEK, context)
    with pytest.raises(KeyUnavailableError, match="CKA_UNWRAP is false"):
        await provider.unwrap(replace(slot, algorithm="A256KWP-SHA256"), context)


async def test_keys_stay_in_the_token_and_can_do_one_thing(
    open_provider: OpenProvider, shared_token: Token
) -> None:
    for mechanism, rights in zip(MECHANISMS, ("ENCRYPT DECRYPT", "WRAP UNWRAP"), strict=True):
        context = fresh_context()
        slot = await open_provider(mechanism=mechanism, key_prefix="rack7/").wrap(DEK, context)
        (key,) = shared_token.keys(f"rack7/{context.uuid}")
        assert (key["LABEL"], key["ID"]) == (slot.key_ref, slot.key_version)
        assert all(key[name] for name in ("TOKEN", "PRIVATE", "SENSITIVE", "NEVER_EXTRACTABLE"))
        assert not key["EXTRACTABLE"]
        assert key["VALUE_LEN"] == 32
        granted = {r for r in ("ENCRYPT", "DECRYPT", "WRAP", "UNWRAP") if key[r]}
        assert granted == set(rights.split())


async def test_wrapping_twice_at_the_same_time_makes_one_key(
    open_provider: OpenProvider, shared_token: Token
) -> None:
    provider, context = open_provider(), fresh_context()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.wrap, DEK, context)
        nursery.start_soon(provider.wrap, DEK, context)
    assert len(shared_token.keys(f"vtpmd-{context.uuid}")) == 1


async def test_rewrapping_takes_a_new_key_and_leaves_the_old_one(
    open_provider: OpenProvider,
) -> None:
    provider, context = open_provider(), fresh_context()
    first, _, third = await rewrapped_twice(provider, context)
    # What was begun and broken off is completed: version 2 exists.
    assert (await provider.rewrap(first, context)).key_version == third.key_version


async def test_rewrapping_moves_between_scopes_and_mechanisms(open_provider: OpenProvider) -> None:
    context = fresh_context()
    own = open_provider(mechanism="gcm")
    shared = open_provider(mechanism="key-wrap", key_scope="shared", key_name=f"s-{uuid4()}")
    slot = await shared.rewrap(await own.wrap(DEK, context), context)
    assert slot.algorithm == "A256KWP-SHA256"
    slot = await own.rewrap(slot, context)
    assert (slot.key_ref, slot.algorithm) == (f"vtpmd-{context.uuid}", "A256GCM")
    assert await shared.unwrap(slot, context) == DEK


async def test_the_newest_shared_key_wraps_and_all_open(
    open_provider: OpenProvider, shared_token: Token
) -> None:
    name, context = f"shared-{uuid4()}", fresh_context()
    provider = open_provider(key_scope="shared", key_name=name, create=False)
    shared_token.import_key(name, os.urandom(32))
    old = await provider.wrap(DEK, context)
    assert (old.key_ref, old.key_version) == (name, "")
    shared_token.import_key(f"{name}.2", os.urandom(32), ID="02")
    new = await provider.rewrap(old, context)
    assert (new.key_ref, new.key_version) == (f"{name}.2", "02")
    for slot in (old, new):
        assert await provider.unwrap(slot, context) == DEK


async def test_a_shared_key_is_made_once_and_only_where_permitted(
    open_provider: OpenProvider, shared_token: Token
) -> None:
    name = f"shared-{uuid4()}"
    settings = {"key_scope": "shared", "key_name": name}
    frugal = open_provider(**settings, create=False)
    assert await frugal.initialise() is None
    for attempt in (frugal.check(), frugal.wrap(DEK, fresh_context())):
        with pytest.raises(KeyUnavailableError, match=f"no key {name} in the token") as caught:
            await attempt
        assert not caught.value.retry
    assert shared_token.keys(name) == []
    provider = open_provider(**settings)
    await provider.check()
    assert shared_token.keys(name) == []
    note = await provider.initialise()
    assert note is not None
    assert "back up the token" in note
    assert await provider.initialise() is None
    await frugal.check()
    assert len(shared_token.keys(name)) == 1


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"ENCRYPT": False}, "CKA_ENCRYPT is false"),
        ({"DECRYPT": False}, "CKA_DECRYPT is false"),
        ({"EXTRACTABLE": True}, "may leave the token"),
        ({"SENSITIVE": False}, "may leave the token"),
    ],
)
async def test_a_key_that_is_not_fit_does_not_wrap(
    open_provider: OpenProvider,
    shared_token: Token,
    attributes: dict[str, bool],
    reason: str,
) -> None:
    name = f"unfit-{uuid4()}"
    shared_token.import_key(name, os.urandom(32), **attributes)
    provider = open_provider(key_scope="shared", key_name=name)
    for attempt in (provider.check(), provider.wrap(DEK, fresh_context())):
        with pytest.raises(KeyUnavailableError, match=reason) as caught:
            await attempt
        assert not caught.value.retry


async def test_a_short_key_does_not_wrap(open_provider: OpenProvider, shared_token: Token) -> None:
    name = f"short-{uuid4()}"
    shared_token.import_key(name, os.urandom(16))
    with pytest.raises(KeyUnavailableError, match="does not have 256 bits"):
        await open_provider(key_scope="shared", key_name=name).check()


async def test_of_two_keys_with_one_label_the_fit_one_wraps(
    open_provider: OpenProvider, shared_token: Token
) -> None:
    name, context = f"twice-{uuid4()}", fresh_context()
    shared_token.import_key(name, os.urandom(32), ID="01", ENCRYPT=False)
    shared_token.import_key(name, os.urandom(32), ID="02")
    provider = open_provider(key_scope="shared", key_name=name)
    slot = await provider.wrap(DEK, context)
    assert slot.key_version == "02"
    assert await provider.unwrap(slot, context) == DEK
    with pytest.raises(KeyUnavailableError, match=f"there are 2 times key {name} in the token"):
        await provider.unwrap(replace(slot, key_version=""), context)


async def test_a_retired_key_opens_and_does_not_wrap(
    open_provider: OpenProvider, shared_token: Token
) -> None:
    for mechanism, right in zip(MECHANISMS, ("ENCRYPT", "WRAP"), strict=True):
        provider, context = open_provider(mechanism=mechanism), fresh_context()
        slot = await provider.wrap(DEK, context)
        shared_token.set(slot.key_ref, **{right: False})
        assert await provider.unwrap(slot, context) == DEK
        with pytest.raises(KeyUnavailableError, match=f"CKA_{right} is false"):
            await provider.wrap(DEK, context)
        assert (await provider.rewrap(slot, context)).key_ref.endswith(".2")


async def test_a_disabled_or_missing_key_is_named_and_not_made_anew(
    open_provider: OpenProvider, shared_token: Token
) -> None:
    provider, context = open_provider(), fresh_context()
    slot = await provider.wrap(DEK, context)
    shared_token.set(slot.key_ref, DECRYPT=False)
    with pytest.raises(KeyUnavailableError, match="CKA_DECRYPT is false") as caught:
        await provider.unwrap(slot, context)
    assert not caught.value.retry
    shared_token.destroy(slot.key_ref)
    with pytest.raises(KeyUnavailableError, match=f"no key {slot.key_ref} with id") as caught:
        await provider.unwrap(slot, context)
    assert not caught.value.retry
    assert shared_token.keys(slot.key_ref) == []


async def test_erasing_an_instance_destroys_all_its_keys(
    open_provider: OpenProvider, shared_token: Token
) -> None:
    provider, context = open_provider(), fresh_context()
    first = await provider.wrap(DEK, context)
    second = await provider.rewrap(first, context)
    third = await provider.rewrap(second, context)
    shared_token.destroy(second.key_ref)
    assert await provider.destroy(third, context) == Erased()
    assert shared_token.keys(f"vtpmd-{context.uuid}") == []
    assert await provider.destroy(third, context) == Erased()


async def test_no_key_of_another_instance_is_destroyed(
    open_provider: OpenProvider, shared_token: Token
) -> None:
    provider, victim, attacker = open_provider(), fresh_context(), fresh_context()
    slot = await provider.wrap(DEK, victim)
    own = await provider.wrap(DEK, attacker)
    assert isinstance(await provider.destroy(slot, attacker), NotErased)
    forged = replace(slot, key_ref=own.key_ref)
    outcome = await provider.destroy(forged, attacker)
    assert isinstance(outcome, NotErased)
    assert slot.key_ref in outcome.reason
    assert await provider.unwrap(slot, victim) == DEK


async def test_a_shared_key_is_never_destroyed(open_provider: OpenProvider) -> None:
    provider, context = open_provider(key_scope="shared", key_name=f"s-{uuid4()}"), fresh_context()
    slot = await provider.wrap(DEK, context)
    assert await provider.destroy(slot, context) == NotErased.shared("hsm")


async def test_slots_that_name_nothing_of_ours_are_refused(open_provider: OpenProvider) -> None:
    provider, context = open_provider(), fresh_context()
    slot = await provider.wrap(DEK, context)
    for wrong in (
        replace(slot, provider_type="local"),
        replace(slot, key_ref=""),
        replace(slot, key_ref="two words"),
        replace(slot, key_ref="x" * 2048),
        replace(slot, key_version="1"),
        replace(slot, key_version="xy"),
        replace(slot, key_version="00" * 1024),
    ):
        for use in (provider.unwrap, provider.rewrap, provider.destroy):
            with pytest.raises(KeyRefusedError):
                await use(wrong, context)
    with pytest.raises(KeyRefusedError, match="no algorithm A128KW"):
        await provider.unwrap(replace(slot, algorithm="A128KW"), context)


async def test_the_description_says_what_is_used_how(open_provider: OpenProvider) -> None:
    provider = open_provider()
    description = await provider.describe()
    assert "SoftHSM" in description["library"]
    assert (description["token"], description["algorithm"]) == ("vtpmd test", "A256GCM")
    assert (description["key_scope"], description["key_prefix"]) == ("instance", "vtpmd-")
    assert PIN not in json.dumps(description) + repr(provider)
