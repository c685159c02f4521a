"""Requests that are sent again: made once, told the same, also after a restart of the daemon."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import trio

from tests.supervisor.harness import Daemon
from tests.supervisor.stage import Stage
from vtpmd.api import problems, schema
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, StopRequest
from vtpmd.client import Client, ClientError
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.operations import idempotency
from vtpmd.operations.create import create
from vtpmd.operations.delete import delete
from vtpmd.operations.list import list_
from vtpmd.operations.stop import stop

KEY = "order-4711"
REQUEST = CreateRequest(name="web1", start=False)


async def test_the_same_is_made_once(stage: Stage) -> None:
    made = await create(stage.fleet, REQUEST, KEY)
    again = await create(stage.fleet, REQUEST, KEY)
    assert (again.uuid, again.created) == (made.uuid, made.created)
    assert len((await list_(stage.fleet)).instances) == 1
    with pytest.raises(OperationError) as refused:
        await create(stage.fleet, REQUEST)
    assert refused.value.problem is problems.EXISTS


async def test_at_the_same_time_one_waits_for_the_other(stage: Stage) -> None:
    found: list[schema.InstanceInfo] = []

    async def ask() -> None:
        found.append(await create(stage.fleet, REQUEST, KEY))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
    assert len({each.uuid for each in found}) == 1


@pytest.mark.parametrize(
    "other", [CreateRequest(name="web2", start=False), CreateRequest(name="web1")]
)
async def test_a_key_is_for_one_request(stage: Stage, other: CreateRequest) -> None:
    await create(stage.fleet, REQUEST, KEY)
    with pytest.raises(OperationError) as refused:
        await create(stage.fleet, other, KEY)
    assert refused.value.problem is problems.KEY_REUSED
    assert "web1" in refused.value.detail


async def test_what_failed_is_tried_again(stage: Stage) -> None:
    stage.provider.fault = KeyUnavailableError("away", retry=True)
    with pytest.raises(OperationError):
        await create(stage.fleet, REQUEST, KEY)
    stage.provider.fault = None
    assert (await create(stage.fleet, REQUEST, KEY)).name == "web1"


async def test_what_somebody_has_stopped_stays_stopped(stage: Stage) -> None:
    request = CreateRequest(name="web1")
    assert (await create(stage.fleet, request, KEY)).state == "running"
    await stop(stage.fleet, "web1", StopRequest())
    assert (await create(stage.fleet, request, KEY)).state == "stopped"


async def test_a_key_is_free_after_its_time_and_with_its_instance(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await create(stage.fleet, REQUEST, KEY)
    await delete(stage.fleet, "web1")
    again = await create(stage.fleet, REQUEST, KEY)
    assert again.uuid != made.uuid
    monkeypatch.setattr(idempotency, "LIFETIME", timedelta(0))
    assert again.created < datetime.now(UTC)
    with pytest.raises(OperationError) as refused:
        await create(stage.fleet, REQUEST, KEY)
    assert refused.value.problem is problems.EXISTS


@pytest.mark.served
def test_it_holds_over_a_restart_of_the_daemon(daemon: Daemon) -> None:
    client, request = Client(str(daemon.admin)), CreateRequest(name="web1", uuid=uuid4())
    made = client.create(request, idempotency_key=KEY)
    daemon.restart()
    again = client.create(request, idempotency_key=KEY)
    assert (again.uuid, again.state) == (made.uuid, "running")
    with pytest.raises(ClientError) as refused:
        client.create(CreateRequest(name="web2"), idempotency_key=KEY)
    assert refused.value.problem is problems.KEY_REUSED
    with pytest.raises(ClientError) as refused:
        client.create(request, idempotency_key="two words")
    assert refused.value.problem is problems.INVALID
