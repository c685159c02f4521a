"""The kmip provider with PyKMIP's server: the contract, whose key is whose, and keys' lives."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import cbor2
import pytest
import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.kms import configured
from tests.kms.certificates import Authority
from tests.kms.kmip.conftest import OpenProvider
from tests.kms.kmip.scripted import (
    ENUMERATION,
    ScriptedServer,
    answering,
    batch_item,
    item,
    reply,
)
from tests.kms.wrapping import DEK, fresh_context, rewrapped_twice
from vtpmd.kms.contract import KeyProviderContract
from vtpmd.kms.errors import KeyRefusedError, KeyUnavailableError
from vtpmd.kms.kmip import operations
from vtpmd.kms.kmip.client import Client
from vtpmd.kms.kmip.constants import Operation, State
from vtpmd.kms.kmip.provider import KmipProvider
from vtpmd.kms.provider import Erased, KeyProvider, NotErased

MODES = ("get", "encrypt")


async def shared_key(client: Client) -> str:
    """A name that a key of this test alone has, which is made and activated."""
    name = f"shared-{uuid4()}"
    await client.call(operations.activate(await client.call(operations.create(name, False))))
    return name


async def state(client: Client, key: str) -> State:
    return await client.call(operations.get_state(key))


@pytest.mark.parametrize(
    ("mode", "key_scope"),
    [("get", "instance"), ("get", "shared"), ("encrypt", "instance"), ("encrypt", "shared")],
)
class TestContract(KeyProviderContract):
    """Every way to use the server passes what every provider must pass."""

    @pytest.fixture(autouse=True)
    def _prepare(
        self,
        open_provider: OpenProvider,
        open_client: Callable[[], Client],
        mode: str,
        key_scope: str,
    ) -> None:
        self._open_provider, self._open_client = open_provider, open_client
        self._settings = {"mode": mode, "key_scope": key_scope}

    async def open_provider(self) -> KeyProvider:
        settings = dict(self._settings)
        if settings["key_scope"] == "shared":
            settings["key_name"] = await shared_key(self._open_client())
        return self._open_provider(**settings)


async def test_wrapping_is_recomputed_independently(
    open_provider: OpenProvider, client: Client
) -> None:
    for mode in MODES:
        context = fresh_context()
        slot = await open_provider(mode=mode).wrap(DEK, context)
        kek = bytes(await client.call(operations.get(slot.key_version)))
        aad = cbor2.dumps(["vtpmd-dek-v1", context.uuid.bytes, context.dek_id], canonical=True)
        iv, encrypted = slot.wrapped[:12], slot.wrapped[12:]
        assert AESGCM(kek).decrypt(iv, encrypted, aad) == DEK
        assert (slot.key_ref, slot.algorithm) == (f"vtpmd-{context.uuid}", "A256GCM")


async def test_each_mode_opens_what_the_other_wrapped(open_provider: OpenProvider) -> None:
    for wrapping, opening in (MODES, MODES[::-1]):
        context = fresh_context()
        slot = await open_provider(mode=wrapping).wrap(DEK, context)
        assert await open_provider(mode=opening).unwrap(slot, context) == DEK


async def test_an_instance_has_a_key_of_its_own_and_keeps_it(
    open_provider: OpenProvider, client: Client
) -> None:
    provider = open_provider(key_prefix="rack7/")
    context = fresh_context()
    first = await provider.wrap(DEK, context)
    second = await provider.wrap(DEK, replace(context, dek_id=bytes(16)))
    other = await provider.wrap(DEK, fresh_context())
    assert first.key_version == second.key_version != other.key_version
    assert await client.call(operations.locate(f"rack7/{context.uuid}")) == [first.key_version]
    assert await state(client, first.key_version) == State.ACTIVE


async def test_wrapping_twice_at_the_same_time_makes_one_key(
    open_provider: OpenProvider, client: Client
) -> None:
    provider, context = open_provider(), fresh_context()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.wrap, DEK, context)
        nursery.start_soon(provider.wrap, DEK, context)
    assert len(await client.call(operations.locate(f"vtpmd-{context.uuid}"))) == 1


async def test_a_key_that_was_made_but_not_activated_is_used(
    open_provider: OpenProvider, client: Client
) -> None:
    context = fresh_context()
    made = await client.call(operations.create(f"vtpmd-{context.uuid}", False))
    slot = await open_provider().wrap(DEK, context)
    assert slot.key_version == made
    assert await state(client, made) == State.ACTIVE


async def test_rewrapping_takes_a_new_key_and_leaves_the_old_one(
    open_provider: OpenProvider,
) -> None:
    await rewrapped_twice(open_provider(), fresh_context())


async def test_rewrapping_that_was_broken_off_is_completed(
    open_provider: OpenProvider, client: Client
) -> None:
    provider, context = open_provider(), fresh_context()
    first = await provider.wrap(DEK, context)
    begun = await client.call(operations.create(f"vtpmd-{context.uuid}.2", False))
    assert (await provider.rewrap(first, context)).key_version == begun


async def test_rewrapping_moves_between_scopes(open_provider: OpenProvider, client: Client) -> None:
    name, context = await shared_key(client), fresh_context()
    own, shared = open_provider(), open_provider(key_scope="shared", key_name=name)
    slot = await shared.rewrap(await own.wrap(DEK, context), context)
    assert slot.key_ref == name
    slot = await own.rewrap(slot, context)
    assert slot.key_ref == f"vtpmd-{context.uuid}"
    assert await shared.unwrap(slot, context) == DEK


async def test_a_key_that_is_not_active_is_not_used(
    open_provider: OpenProvider, client: Client
) -> None:
    for mode in MODES:
        provider, context = open_provider(mode=mode), fresh_context()
        slot = await provider.wrap(DEK, context)
        await client.call(operations.revoke(slot.key_version))
        with pytest.raises(KeyUnavailableError, match="in state Deactivated") as caught:
            await provider.unwrap(slot, context)
        assert not caught.value.retry
        assert f"key {slot.key_version} at the KMIP server localhost:" in caught.value.reason
        # A wrap goes on with the next version.
        assert (await provider.wrap(DEK, context)).key_ref.endswith(".2")
        await client.call(operations.destroy(slot.key_version))
        with pytest.raises(
            KeyUnavailableError, match="does not exist at the KMIP server"
        ) as caught:
            await provider.unwrap(slot, context)
        assert not caught.value.retry


async def test_a_key_of_another_client_is_out_of_reach(
    open_provider: OpenProvider, authority: Authority
) -> None:
    stranger = authority.client("host2")
    for mode in MODES:
        context = fresh_context()
        slot = await open_provider(mode=mode).wrap(DEK, context)
        other = open_provider(
            mode=mode, certificate=str(stranger.certificate), key=str(stranger.key)
        )
        with pytest.raises(KeyUnavailableError) as caught:
            await other.unwrap(slot, context)
        assert not caught.value.retry
        assert "Permission Denied" in caught.value.reason


async def test_erasing_an_instance_destroys_all_its_keys(
    open_provider: OpenProvider, client: Client
) -> None:
    provider, context = open_provider(), fresh_context()
    first = await provider.wrap(DEK, context)
    second = await provider.rewrap(first, context)
    third = await provider.rewrap(second, context)
    await client.call(operations.revoke(second.key_version))
    await client.call(operations.destroy(second.key_version))  # leaves a gap
    assert await provider.destroy(third, context) == Erased()
    for slot in (first, second, third):
        with pytest.raises(KeyUnavailableError, match="does not exist"):
            await provider.unwrap(slot, context)
        assert await client.call(operations.locate(slot.key_ref)) == []


async def test_erasing_destroys_nothing_that_is_not_the_instances(
    open_provider: OpenProvider, client: Client
) -> None:
    provider, context = open_provider(), fresh_context()
    victim_context = fresh_context()
    victim = await provider.wrap(DEK, victim_context)
    forged = replace(victim, key_ref=f"vtpmd-{context.uuid}")
    outcome = await provider.destroy(forged, context)
    assert isinstance(outcome, NotErased)
    assert f"key {victim.key_version}" in outcome.reason
    outcome = await provider.destroy(victim, context)
    assert isinstance(outcome, NotErased)
    assert outcome == NotErased.not_own("kms1", victim.key_ref, f"vtpmd-{context.uuid}")
    for name in ("", ".1", ".02", ".1001", ".-1", ".²", "x"):
        slot = replace(victim, key_ref=f"vtpmd-{context.uuid}{name}")
        assert isinstance(await provider.destroy(slot, context), NotErased)
    assert await provider.unwrap(victim, victim_context) == DEK


async def test_a_shared_key_is_never_destroyed(open_provider: OpenProvider, client: Client) -> None:
    provider = open_provider(key_scope="shared", key_name=await shared_key(client))
    context = fresh_context()
    slot = await provider.wrap(DEK, context)
    outcome = await provider.destroy(slot, context)
    assert outcome == NotErased.shared("kms1")
    assert await provider.unwrap(slot, context) == DEK


async def test_a_shared_key_is_made_once_and_only_at_the_beginning(
    open_provider: OpenProvider, client: Client
) -> None:
    name = f"shared-{uuid4()}"
    provider = open_provider(key_scope="shared", key_name=name)
    for attempt in (provider.check(), provider.wrap(DEK, fresh_context())):
        with pytest.raises(KeyUnavailableError, match=f"no key named {name} is Active"):
            await attempt
    note = await provider.initialise()
    assert note is not None
    assert "back it up" in note
    assert await provider.initialise() is None
    await provider.check()
    (key,) = await client.call(operations.locate(name))
    assert (await provider.wrap(DEK, fresh_context())).key_version == key
    await client.call(operations.revoke(key))
    assert await provider.initialise() is None
    with pytest.raises(
        KeyUnavailableError, match=f"no key named {name} is Active: it is Deactivated"
    ):
        await provider.check()


async def test_the_newer_of_two_shared_keys_is_used_and_both_open(
    open_provider: OpenProvider, client: Client
) -> None:
    name, context = await shared_key(client), fresh_context()
    provider = open_provider(key_scope="shared", key_name=name)
    old = await provider.wrap(DEK, context)
    await client.call(operations.revoke(old.key_version))
    await client.call(operations.activate(await client.call(operations.create(name, False))))
    new = await provider.wrap(DEK, context)
    assert new.key_version != old.key_version


async def test_a_key_id_that_is_none_is_out_of_reach(open_provider: OpenProvider) -> None:
    provider, context = open_provider(), fresh_context()
    slot = await provider.wrap(DEK, context)
    with pytest.raises(KeyRefusedError, match="names no key"):
        await provider.unwrap(replace(slot, key_version=""), context)
    for identifier in ("none", "0" * 2048, "'; --"):
        with pytest.raises(KeyUnavailableError, match="does not exist") as caught:
            await provider.unwrap(replace(slot, key_version=identifier), context)
        assert not caught.value.retry


async def test_the_description_says_what_is_used_how(open_provider: OpenProvider) -> None:
    provider = open_provider()
    description = await provider.describe()
    assert "1.4" in description["versions"]
    assert "PyKMIP" in description["vendor"]
    assert (description["mode"], description["key_scope"]) == ("get", "instance")
    assert description["server"] in repr(provider)


async def test_a_server_without_what_is_needed_is_told(
    fault_server: ScriptedServer, open_provider: OpenProvider
) -> None:
    offered = [operation for operation in Operation if operation != Operation.DECRYPT]
    known = [item(0x5C, ENUMERATION, operation) for operation in offered]
    fault_server.script = answering(reply(batch_item(0x18, *known)))
    await open_provider(port=fault_server.port, mode="get").check()
    with pytest.raises(KeyUnavailableError, match=r"does not offer Decrypt$") as caught:
        await open_provider(port=fault_server.port, mode="encrypt").check()
    assert not caught.value.retry


@pytest.mark.parametrize(("reason", "retry"), [(0x100, True), (0x09, True), (0x0C, False)])
async def test_what_may_pass_by_itself_is_to_be_tried_again(
    fault_server: ScriptedServer, open_provider: OpenProvider, reason: int, retry: bool
) -> None:
    fault_server.script = answering(reply(batch_item(0x18, status=1, reason=reason)))
    with pytest.raises(KeyUnavailableError, match="refuses Query: ") as caught:
        await open_provider(port=fault_server.port).check()
    assert caught.value.retry is retry


@pytest.mark.parametrize(
    ("host", "server"), [("kms", "kms:5696"), ("::1", "[::1]:5696")], ids=["name", "address"]
)
def test_settings_are_enough(tmp_path: Path, host: str, server: str) -> None:
    settings = {"type": "kmip", "name": "dc1", "host": host}
    files = {"ca": "/ca", "certificate": "/c", "key": "/k"}
    provider = configured.opened(KmipProvider, settings | files, tmp_path)
    assert repr(provider) == f"KmipProvider('dc1', '{server}')"
