"""Events: numbered, bounded, and waited for."""

import pytest
import trio
import trio.testing

from tests.supervisor.stage import Stage
from vtpmd.api.schema import CreateRequest, EventInfo, EventsRequest, StopRequest
from vtpmd.ipc.messages import Event
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.operations.create import create
from vtpmd.operations.events import events
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop
from vtpmd.supervisor import journal


async def told(stage: Stage, **request: object) -> tuple[EventInfo, ...]:
    return (await events(stage.fleet, EventsRequest(**request))).events  # type: ignore[arg-type]


async def test_states_are_told_with_their_gravity_and_in_order(stage: Stage) -> None:
    made = await create(stage.fleet, CreateRequest(name="web1"))
    await create(stage.fleet, CreateRequest(name="web2", start=False))
    await stop(stage.fleet, "web1", StopRequest())
    stage.provider.fault = KeyUnavailableError("it is away", retry=False)
    with pytest.raises(Exception, match="it is away"):
        await start(stage.fleet, "web1")
    found = [each for each in await told(stage, instance="web1") if each.kind == "state"]
    assert [each.detail.split(":")[0] for each in found] == ["running", "stopped", "locked"]
    assert [each.severity for each in found] == ["info", "info", "warning"]
    assert "it is away" in found[-1].detail
    assert {each.uuid for each in found} == {made.uuid}
    numbers = [each.number for each in await told(stage)]
    assert numbers == sorted(set(numbers))
    assert await told(stage, instance=str(made.uuid)) == await told(stage, instance="web1")
    assert await told(stage, instance="web2") == ()
    assert await told(stage, after=numbers[-1]) == ()
    assert [each.number for each in await told(stage, after=numbers[-2])] == numbers[-1:]


async def test_what_a_worker_reports_is_told_escaped_and_bounded(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1"))
    instance = stage.fleet.find("web1")
    instance._on_event(1, Event("storage-full", "x" * 5000 + "\x1b[2J"))
    instance._on_event(1, Event("defect", "a\x1b[2Jb"))
    full, defect = (await told(stage))[-2:]
    assert (full.kind, full.severity) == ("storage-full", "warning")
    assert len(full.detail) == journal.MAX_DETAIL
    assert (defect.kind, defect.severity) == ("defect", "error")
    assert "\x1b" not in defect.detail


async def test_only_the_newest_are_remembered(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    metadata = stage.fleet.find("web1").metadata
    for _ in range(journal.CAPACITY + 5):
        stage.host.journal.note(metadata, "info", "kind", "")
    found = await events(stage.fleet, EventsRequest())
    assert len(found.events) == journal.CAPACITY
    assert found.last == found.events[-1].number
    assert found.events[0].number == found.last - journal.CAPACITY + 1
    assert len(await told(stage, after=found.last + 1000)) == journal.CAPACITY  # another daemon's


async def test_who_waits_hears_of_the_next_one(stage: Stage, nursery: trio.Nursery) -> None:
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    metadata = stage.fleet.find("web1").metadata
    last = stage.host.journal.last
    heard: list[tuple[EventInfo, ...]] = []

    async def wait() -> None:
        heard.append(await told(stage, after=last, wait=30, instance="web1"))

    async with trio.open_nursery() as waiting:
        waiting.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert heard == []
        stage.host.journal.note(metadata, "info", "kind", "it happened")
    assert [each.detail for each in heard[0]] == ["it happened"]
