"""What a target says of a ticket, and what it refuses: two hosts that share a key provider."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import trio

from tests.supervisor.stage import Stage, staged
from tests.worker.harness import SLOTS
from vtpmd.api import problems
from vtpmd.api.problems import OperationError, Problem
from vtpmd.api.schema import (
    CreateRequest,
    IncomingRequest,
    InstanceInfo,
    MigrateCheckRequest,
    StopRequest,
)
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.operations import announced
from vtpmd.operations.create import create
from vtpmd.operations.delete import delete
from vtpmd.operations.incoming import create_incoming
from vtpmd.operations.migrate import ticket
from vtpmd.operations.migrate_check import migrate_check
from vtpmd.operations.stop import stop
from vtpmd.operations.ticket import Ticket, TicketError, opened, sealed
from vtpmd.pki.entries import Given, Known
from vtpmd.storage.envelope import Header, seal
from vtpmd.storage.key import Key
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor.errors import KeyMissingError
from vtpmd.supervisor.keys import TICKET

ANY = MigrateCheckRequest()


@asynccontextmanager
async def target(source: Stage) -> AsyncIterator[Stage]:
    """Another host, whose key providers are those of the first."""
    async with trio.open_nursery() as nursery, staged(nursery) as stage:
        stage.provider._deks = source.provider._deks
        yield stage


async def written(stage: Stage, name: str = "web1", **options: Any) -> tuple[InstanceInfo, bytes]:
    made = await create(stage.fleet, CreateRequest(name=name, start=False, **options))
    return made, await ticket(stage.fleet, name)


async def refused(stage: Stage, data: bytes, problem: Problem, name: str | None = None) -> str:
    with pytest.raises(OperationError) as caught:
        await migrate_check(stage.fleet, MigrateCheckRequest(name=name), data)
    assert caught.value.problem is problem
    return caught.value.detail


async def test_a_place_is_looked_for_by_uuid_and_name(stage: Stage) -> None:
    made, data = await written(stage)
    async with target(stage) as there:
        found = await migrate_check(there.fleet, ANY, data)
        assert (found.name, found.uuid, found.provider) == ("web1", made.uuid, "main")
        assert found.present == "nothing"
        other = await create(there.fleet, CreateRequest(name="web1", start=False))
        assert "of another UUID" in await refused(there, data, problems.EXISTS)
        found = await migrate_check(there.fleet, MigrateCheckRequest(name="web2"), data)
        assert found.name == "web2"
        await refused(there, data, problems.INVALID, str(other.uuid))
        await create_incoming(there.fleet, IncomingRequest(name="web2"), data)
        found = await migrate_check(there.fleet, ANY, data)
        assert (found.name, found.present) == ("web2", "incoming")
        await stop(there.fleet, "web2", StopRequest())
        await refused(there, data, problems.NOT_RUNNING)


async def test_a_key_that_cannot_be_had_is_told_before_the_source_stops(stage: Stage) -> None:
    _, data = await written(stage)
    async with target(stage) as there:
        there.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
        assert "the KMS is down" in await refused(there, data, problems.KEY_UNAVAILABLE)
        there.provider.fault = None
        there.provider._deks = {
            aad: dek for aad, dek in stage.provider._deks.items() if TICKET in aad
        }
        assert "no such KEK" in await refused(there, data, problems.KEY_UNAVAILABLE)


async def test_a_host_that_has_no_room_or_is_too_old_says_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, data = await written(stage)
    async with target(stage) as there:
        monkeypatch.setattr(announced, "ROOM", 1 << 62)
        assert "space" in await refused(there, data, problems.UNAVAILABLE)
        monkeypatch.setattr(announced, "FORMAT_VERSION", 0)
        assert "upgrade" in await refused(there, data, problems.UNAVAILABLE)


async def read(stage: Stage, data: bytes) -> Ticket:
    envelope = sealed(data)
    dek = await stage.host.keys.unlock(envelope, envelope.header.uuid, ticket=True)
    try:
        return opened(envelope, dek)
    finally:
        wipe(dek)


async def test_a_ticket_holds_no_secret_and_nothing_in_plain(stage: Stage) -> None:
    made, data = await written(stage, owner="root", mode="0600")
    for word in (b"web1", b"default-v1", b"root", b"CERTIFICATE"):
        assert word not in data
    found = await read(stage, data)
    assert found.metadata == stage.fleet.find("web1").metadata
    assert found.slots == stage.host.registry.envelope(made.uuid).slots
    assert {type(entry) for entry in found.ledger} == {Known, Given}
    assert found.certificates.leaves
    assert str(found.certificates.leaves) not in repr(data)


async def test_a_profile_that_is_not_known_here_is_told(stage: Stage) -> None:
    _, data = await written(stage)
    told = (await read(stage, data)).metadata
    data = await resealed(stage, data, metadata=replace(told, profile="later-v9"))
    assert "later-v9" not in await refused(stage, data, problems.UNAVAILABLE)


async def resealed(stage: Stage, data: bytes, **changes: Any) -> bytes:
    """The ticket of another daemon, which says something else of its TPM."""
    found = await read(stage, data)
    key = await stage.host.keys.fresh(found.metadata.uuid, stage.provider, TICKET)
    try:
        return replace(found, **changes).encode(key)
    finally:
        wipe(key.dek)


async def test_a_state_that_this_engine_could_not_read_is_told(stage: Stage) -> None:
    """What the engine here would refuse when it comes, and nothing else."""
    made, data = await written(stage)
    engine, found = await stage.host.zygote.models(), await read(stage, data)
    assert found.state_fields == engine.state_fields
    assert "NvIndex.public" in engine.state_fields
    for changes, reason in (
        ({"state_version": engine.state_version + 1}, "version 2, and version 1"),
        ({"state_fields": (*engine.state_fields, "NvIndex.later")}, "fields NvIndex.later; "),
    ):
        other = await resealed(stage, data, vtpmd="9.9", **changes)
        told = await refused(stage, other, problems.UNAVAILABLE)
        assert reason in told
        assert "vtpmd 9.9 writes" in told
        with pytest.raises(OperationError, match="upgrade it"):
            await create_incoming(stage.fleet, IncomingRequest(), other)
    async with target(stage) as there:
        for fields in (engine.state_fields[:-3], (*engine.state_fields, "Unheard.of")):
            other = await resealed(stage, data, state_fields=fields)
            assert (await migrate_check(there.fleet, ANY, other)).uuid == made.uuid


async def test_only_a_daemon_can_write_a_ticket(stage: Stage) -> None:
    """Whoever has an instance's key, as its worker has, forges none and opens none."""
    made, data = await written(stage)
    keys, state = stage.host.keys, stage.host.registry.envelope(made.uuid)
    dek = await keys.unlock(state, made.uuid)
    header = Header(made.uuid, 0, "ticket", state.header.dek_id)
    forged = seal(dek, header, state.slots, b"whatever")
    wipe(dek)
    assert "a key of its own" in await refused(stage, forged, problems.KEY_UNAVAILABLE)
    envelope = sealed(data)
    with pytest.raises(KeyMissingError, match="no key of a ticket"):
        await keys.unwrap(made.uuid, envelope.header.dek_id, envelope.slots)
    with pytest.raises(KeyMissingError, match="a key of its own"):
        await keys.unlock(envelope, made.uuid)


async def test_what_is_no_ticket_is_refused(stage: Stage) -> None:
    made, data = await written(stage)
    _, nvram = stage.host.registry.sealed(made.uuid)
    assert "permanent state" in await refused(stage, nvram, problems.BUNDLE_REFUSED)
    for damaged in (b"", b"ticket", data[:-1], data[:200], data.replace(b"main", b"niam")):
        await refused(stage, damaged, problems.BUNDLE_REFUSED)


@pytest.mark.parametrize(
    "content", [b"", b"\xa0", b"\xa1\x01\x02", b"\xa1\x01\x01", b"\x81\x01", b"\xa1\x01\xf5"]
)
def test_what_a_ticket_does_not_say_is_told(content: bytes) -> None:
    dek, uuid = bytearray(range(32)), "6f1f7f5e-0d0b-4b8e-9a53-2f5a44f3b001"
    key = Key(dek, TICKET + bytes(8), SLOTS)
    data = seal(dek, Header(UUID(uuid), 0, "ticket", key.dek_id), key.slots, content)
    with pytest.raises(TicketError):
        opened(sealed(data), dek)


async def test_a_ticket_outlives_its_instance_but_not_its_keys(stage: Stage) -> None:
    _, data = await written(stage)
    await delete(stage.fleet, "web1")
    assert (await migrate_check(stage.fleet, ANY, data)).present == "nothing"
    stage.provider.forget()
    await refused(stage, data, problems.KEY_UNAVAILABLE)
