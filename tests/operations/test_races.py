"""Operations that meet on one instance: the later one waits, or is told why it cannot be."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from tests.supervisor.stage import Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CloneRequest, CreateRequest, RekeyRequest
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.operations.clone import clone
from vtpmd.operations.create import create
from vtpmd.operations.info import info
from vtpmd.operations.rekey import rekey
from vtpmd.operations.start import start
from vtpmd.supervisor.fleet import Fleet

Operation = Callable[[Fleet], Awaitable[object]]


async def rekeyed(fleet: Fleet) -> None:
    assert (await rekey(fleet, "web1", RekeyRequest())).changed


async def rekeyed_deeply(fleet: Fleet) -> None:
    assert (await rekey(fleet, "web1", RekeyRequest(deep=True))).changed


async def cloned(fleet: Fleet) -> None:
    request = CloneRequest(name="copy", policy="copy", start=False)
    assert (await clone(fleet, "web1", request)).shares_identity_with == ("web1",)


@pytest.mark.parametrize("operation", [rekeyed, rekeyed_deeply, cloned])
async def test_a_start_waits_until_what_needs_it_at_rest_is_done(
    stage: Stage, operation: Operation
) -> None:
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    stage.provider.version += 1
    gate = stage.provider.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(operation, stage.fleet)
        await trio.testing.wait_all_tasks_blocked(0.2)
        nursery.start_soon(start, stage.fleet, "web1")
        await trio.testing.wait_all_tasks_blocked(0.2)
        assert (await info(stage.fleet, "web1")).autostart is False
        assert stage.provider.unwrapped == 0
        gate.set()
    assert (await info(stage.fleet, "web1")).state == "running"


@pytest.mark.parametrize("operation", [rekeyed_deeply, cloned])
async def test_what_is_just_started_is_not_at_rest(stage: Stage, operation: Operation) -> None:
    await create(stage.fleet, CreateRequest(name="web1"))
    await stage.fleet.find("web1").stop(remember=False, reason="a test")
    gate = stage.provider.gate = trio.Event()
    fleet = Fleet(stage.host)
    await fleet.open(stage.host.registry.load())
    await trio.testing.wait_all_tasks_blocked(0.2)
    with pytest.raises(OperationError, match="while it is stopped") as refused:
        await operation(fleet)
    assert refused.value.problem is problems.UNAVAILABLE
    gate.set()
    await start(fleet, "web1")
    await operation(fleet)
    await fleet.find("web1").stop(remember=True, reason="the end of a test")


@pytest.mark.parametrize("operation", [rekeyed_deeply, cloned])
async def test_what_waits_for_its_key_is_not_at_rest(stage: Stage, operation: Operation) -> None:
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    stage.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
    with pytest.raises(OperationError):
        await start(stage.fleet, "web1")
    with pytest.raises(OperationError, match=r"while it is locked: .*the KMS is down") as refused:
        await operation(stage.fleet)
    assert refused.value.problem is problems.KEY_UNAVAILABLE


@pytest.mark.parametrize("operation", [rekeyed, rekeyed_deeply])
async def test_a_worker_that_nobody_knows_of_keeps_its_key(
    stage: Stage, operation: Operation
) -> None:
    """As after a restart of the daemon when somebody has cleared the runtime directory."""
    uuid = (await create(stage.fleet, CreateRequest(name="web1"))).uuid
    stage.host.configuration.adoption_socket(uuid).unlink()
    blind = Fleet(stage.host)
    blind.add(stage.host.registry.load()[0])
    stage.provider.version += 1
    stored = stage.host.registry.sealed(uuid)
    with pytest.raises(OperationError, match="another worker still uses") as refused:
        await operation(blind)
    assert refused.value.problem is problems.RUNNING_CONFLICT
    assert stage.host.registry.sealed(uuid) == stored
    assert (await info(stage.fleet, "web1")).worker is not None
