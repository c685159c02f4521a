"""Delete: the key goes with the instance, and nothing else does."""

import pytest
import trio
import trio.testing

from tests.operations.steps import wanted
from tests.supervisor.stage import Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.operations.create import create
from vtpmd.operations.delete import delete
from vtpmd.operations.start import start


async def test_deleting_destroys_the_key_of_the_instance_alone(stage: Stage) -> None:
    info = await create(stage.fleet, wanted("web1", start=False))
    await create(stage.fleet, wanted("web2", start=False))
    deletion = await delete(stage.fleet, "web1")
    assert deletion.keys is not None
    assert [(key.provider, key.destroyed) for key in deletion.keys] == [("main", True)]
    assert stage.provider.destroyed == [info.uuid]
    assert (await start(stage.fleet, "web2")).state == "running"


async def test_an_unreachable_provider_does_not_keep_an_instance(stage: Stage) -> None:
    await create(stage.fleet, wanted("web1", start=False))
    stage.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
    deletion = await delete(stage.fleet, "web1")
    assert deletion.keys is not None
    assert [key.destroyed for key in deletion.keys] == [False]
    assert "the KMS is down" in deletion.keys[0].reason
    assert stage.host.registry.load() == []


async def test_what_cannot_be_read_is_deleted_and_said_to_be_unknown(stage: Stage) -> None:
    info = await create(stage.fleet, wanted("web1", start=False))
    (stage.directory / "state" / "instances" / str(info.uuid) / "tpm/nvram").write_bytes(b"?")
    assert (await delete(stage.fleet, "web1")).keys is None


async def test_a_start_that_waited_for_a_deletion_finds_nothing(stage: Stage) -> None:
    await create(stage.fleet, wanted("web1", start=False))
    instance = stage.fleet.find("web1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delete, stage.fleet, "web1")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OperationError, match="was deleted"):
            await instance.start()


async def test_of_two_deletions_the_second_finds_nothing(stage: Stage) -> None:
    """Nor does what has taken its place meanwhile go with it."""
    await create(stage.fleet, wanted("web1", start=False))
    refusals: list[OperationError] = []

    async def attempt() -> None:
        try:
            await delete(stage.fleet, "web1")
        except OperationError as refused:
            refusals.append(refused)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt)
        nursery.start_soon(attempt)
    (refused,) = refusals
    assert (refused.problem, refused.detail) == (problems.NOT_FOUND, "web1 was deleted.")
