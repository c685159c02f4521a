"""Migrations declared, done and taken back, of instances that run and that don't."""

import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from tests.supervisor.harness import Daemon
from tests.supervisor.stage import DEADLINE, Stage
from tests.worker.harness import READ_CLOCK, STARTUP_CLEAR, SUCCESS, Qemu, control, tpm
from tests.worker.test_handover import init, read_state, started, works
from vtpmd.api import problems
from vtpmd.api.problems import OperationError, Problem
from vtpmd.api.schema import (
    CreateRequest,
    InstanceInfo,
    MigrateRequest,
    RestoreRequest,
    StopRequest,
)
from vtpmd.operations.backup import backup
from vtpmd.operations.create import create
from vtpmd.operations.info import info
from vtpmd.operations.list import list_
from vtpmd.operations.migrate import migrate
from vtpmd.operations.restore import restore
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop
from vtpmd.operations.take_back import take_back

Result = TypeVar("Result")
NAME = "web1"
DECLARE, CANCEL, DONE = (MigrateRequest(step=step) for step in ("declare", "cancel", "done"))


async def aside(act: Callable[..., Result], *arguments: object) -> Result:
    """What blocks, beside the supervisor."""
    return await trio.to_thread.run_sync(act, *arguments)


def used(made: InstanceInfo) -> Qemu:
    """A machine that runs."""
    qemu = Qemu(Path(made.control_socket))
    qemu.start()
    assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
    return qemu


@pytest.fixture
async def qemu(stage: Stage) -> AsyncIterator[Qemu]:
    made = await create(stage.fleet, CreateRequest(name=NAME))
    qemu = await aside(used, made)
    yield qemu
    qemu.close()


async def listed(stage: Stage, handover: str) -> None:
    """Wait until the daemon shows this without asking the worker, as it does after an event."""
    with trio.fail_after(DEADLINE):
        while (await list_(stage.fleet)).instances[0].handover != handover:
            await trio.lowlevel.checkpoint()


async def refused(stage: Stage, request: MigrateRequest, problem: Problem) -> str:
    with pytest.raises(OperationError) as caught:
        await migrate(stage.fleet, NAME, request)
    assert caught.value.problem is problem
    return caught.value.detail


async def test_what_is_declared_goes_away_and_is_taken_back(stage: Stage, qemu: Qemu) -> None:
    found = await migrate(stage.fleet, NAME, DECLARE)
    assert found.worker is not None
    assert (found.handover, found.worker.declared) == ("ours", True)
    found = await migrate(stage.fleet, NAME, CANCEL)
    assert found.worker is not None
    assert not found.worker.declared
    await migrate(stage.fleet, NAME, DECLARE)
    assert await aside(read_state, qemu.control)
    await listed(stage, "away")
    assert (await info(stage.fleet, NAME)).handover == "away"
    assert not await aside(init, qemu)
    assert "handed over to another host" in await refused(stage, DECLARE, problems.HANDED_OVER)
    found = await take_back(stage.fleet, NAME)
    assert found.worker is not None
    assert (found.handover, found.worker.epoch) == ("ours", 1)
    assert (await list_(stage.fleet)).instances[0].handover == "ours"
    assert await aside(started, qemu)


async def test_a_snapshot_is_shown_until_the_machine_goes_on(stage: Stage, qemu: Qemu) -> None:
    assert await aside(read_state, qemu.control)
    await listed(stage, "lent")
    assert await aside(works, qemu.data)
    await listed(stage, "ours")


async def test_what_is_stopped_can_be_marked_and_taken_back(stage: Stage, qemu: Qemu) -> None:
    assert "nothing was migrated" in await refused(stage, DONE, problems.HANDED_OVER)
    assert await aside(read_state, qemu.control)
    await stop(stage.fleet, NAME, StopRequest())
    assert (await info(stage.fleet, NAME)).handover == "lent"
    await refused(stage, DECLARE, problems.NOT_RUNNING)
    assert (await migrate(stage.fleet, NAME, DONE)).handover == "away"
    assert (await list_(stage.fleet)).instances[0].handover == "away"
    made = await start(stage.fleet, NAME)
    with await aside(Qemu, Path(made.control_socket)) as another:
        assert not await aside(init, another)
    await stop(stage.fleet, NAME, StopRequest())
    assert (await take_back(stage.fleet, NAME)).handover == "ours"
    made = await start(stage.fleet, NAME)
    with await aside(Qemu, Path(made.control_socket)) as another:
        assert await aside(started, another)


async def test_an_old_state_that_is_put_back_does_not_come_back(stage: Stage, qemu: Qemu) -> None:
    bundle = await backup(stage.fleet, NAME)
    await migrate(stage.fleet, NAME, DECLARE)
    assert await aside(read_state, qemu.control)
    await listed(stage, "away")
    await stop(stage.fleet, NAME, StopRequest())
    await restore(stage.fleet, RestoreRequest(replace=True), bundle)
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
    await stop(stage.fleet, NAME, StopRequest())
    qemu.close()
    found = await start(stage.fleet, NAME)
    assert found.worker is not None
    assert (found.handover, found.worker.tpm) == ("lent", "off")
    await stop(stage.fleet, NAME, StopRequest())
    await take_back(stage.fleet, NAME)
    found = await start(stage.fleet, NAME)
    assert found.worker is not None
    assert (found.handover, found.worker.tpm) == ("ours", "on")


def test_the_next_daemon_learns_what_happened_without_one(daemon: Daemon) -> None:
    made = daemon.control("create", NAME)
    with Qemu(Path(made["control_socket"])) as qemu:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        daemon.control("migrate", NAME)
        daemon.end(signal.SIGTERM)
        assert read_state(qemu.control)
        daemon.start()
        daemon.until(NAME, lambda found: found["handover"] == "away")
        assert "away" in daemon.ctl("list").stdout
        assert "vtpmctl take-back" in daemon.ctl("info", NAME).stdout
        assert daemon.ctl("take-back", NAME).returncode == 11
        assert daemon.control("take-back", NAME, "--yes")["handover"] == "ours"
        assert works(qemu.data)
        assert tpm(qemu.data, READ_CLOCK)[6:10] == bytes(4)
        assert control(qemu.control, 0x13, b"\0\0\0\0") == bytes(4)
