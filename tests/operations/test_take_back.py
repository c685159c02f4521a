"""Take back: a TPM that was handed over goes on here, and not without being asked for."""

from pathlib import Path

from tests.operations.test_migrate import (
    DECLARE,
    DONE,
    NAME,
    aside,
    listed,
    qemu,
    refused,
    used,
)
from tests.supervisor.stage import Stage
from tests.worker.harness import Qemu
from tests.worker.test_handover import init, read_state, started
from vtpmd.api import problems
from vtpmd.api.schema import CreateRequest, RestoreRequest, StopRequest
from vtpmd.operations.backup import backup
from vtpmd.operations.create import create
from vtpmd.operations.info import info
from vtpmd.operations.list import list_
from vtpmd.operations.migrate import migrate
from vtpmd.operations.restore import restore
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop
from vtpmd.operations.take_back import take_back

__all__ = ["qemu"]


async def test_what_is_stopped_can_be_marked_and_taken_back(stage: Stage, qemu: Qemu) -> None:
    assert "nothing was migrated" in await refused(stage, DONE, problems.HANDED_OVER)
    assert await aside(read_state, qemu.control)
    await stop(stage.fleet, NAME, StopRequest(force=True))
    assert (await info(stage.fleet, NAME)).handover == "lent"
    await refused(stage, DECLARE, problems.NOT_RUNNING)
    assert (await migrate(stage.fleet, NAME, DONE)).handover == "away"
    assert (await list_(stage.fleet)).instances[0].handover == "away"
    made = await start(stage.fleet, NAME)
    with await aside(Qemu, Path(made.control_socket)) as another:
        assert not await aside(init, another)
    await stop(stage.fleet, NAME, StopRequest(force=True))
    assert (await take_back(stage.fleet, NAME)).handover == "ours"
    made = await start(stage.fleet, NAME)
    with await aside(Qemu, Path(made.control_socket)) as another:
        assert await aside(started, another)


async def test_an_old_state_that_is_put_back_does_not_come_back(stage: Stage, qemu: Qemu) -> None:
    bundle = await backup(stage.fleet, NAME)
    await migrate(stage.fleet, NAME, DECLARE)
    assert await aside(read_state, qemu.control)
    await listed(stage, "away")
    await stop(stage.fleet, NAME, StopRequest(force=True))
    await restore(stage.fleet, RestoreRequest(replace=True, confirmed=True), bundle)
    assert (await info(stage.fleet, NAME)).handover == "away"
    made = await start(stage.fleet, NAME)
    with await aside(Qemu, Path(made.control_socket)) as another:
        assert not await aside(init, another)
        await take_back(stage.fleet, NAME)
        assert await aside(started, another)
    assert (await info(stage.fleet, NAME)).handover == "ours"


async def test_a_lent_tpm_is_not_powered_on_for_tools(stage: Stage) -> None:
    made = await create(stage.fleet, CreateRequest(name=NAME, data_socket=True))
    qemu = await aside(used, made)
    assert await aside(read_state, qemu.control)
    await stop(stage.fleet, NAME, StopRequest(force=True))
    qemu.close()
    found = await start(stage.fleet, NAME)
    assert found.worker is not None
    assert (found.handover, found.worker.tpm) == ("lent", "off")
    await stop(stage.fleet, NAME, StopRequest(force=True))
    await take_back(stage.fleet, NAME)
    found = await start(stage.fleet, NAME)
    assert found.worker is not None
    assert (found.handover, found.worker.tpm) == ("ours", "on")
