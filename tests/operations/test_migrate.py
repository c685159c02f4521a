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
)
from vtpmd.operations.create import create
from vtpmd.operations.info import info
from vtpmd.operations.list import list_
from vtpmd.operations.migrate import migrate
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
