"""Create: one of many at once, and nothing that is left of one that failed."""

from dataclasses import replace

import pytest
import trio

from tests.operations.steps import wanted
from tests.supervisor.stage import Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.operations.create import create


async def test_of_two_creates_at_once_one_succeeds(stage: Stage) -> None:
    outcomes: list[str] = []

    async def attempt() -> None:
        try:
            outcomes.append((await create(stage.fleet, wanted("web1", start=False))).state)
        except OperationError as refused:
            outcomes.append(refused.problem.code)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(attempt)
    assert sorted(outcomes) == ["exists", "exists", "stopped"]
    assert len(stage.host.registry.load()) == 1


async def test_a_create_without_a_key_leaves_nothing(stage: Stage) -> None:
    stage.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
    with pytest.raises(OperationError, match="main: the KMS is down") as refused:
        await create(stage.fleet, wanted("web1"))
    assert refused.value.problem is problems.KEY_UNAVAILABLE
    stage.provider.fault = None
    assert (await create(stage.fleet, wanted("web1"))).state == "running"


async def test_a_create_whose_worker_fails_leaves_nothing(stage: Stage) -> None:
    request = replace(wanted("web1"), profile="no-such-profile")
    with pytest.raises(OperationError):
        await create(stage.fleet, request)
    assert list(stage.fleet) == []
    assert list((stage.directory / "state" / "instances").iterdir()) == []
    assert (await create(stage.fleet, wanted("web1"))).state == "running"


async def test_the_supervisor_keeps_no_key(stage: Stage) -> None:
    await create(stage.fleet, wanted("web1"))
    assert list(map(bytes, stage.provider.seen)) == [bytes(32)] * 3
    # Each was wiped: its own when it was wrapped and to serve it, and the new authority's.
