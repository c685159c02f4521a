"""One serving of an instance: what a defect, a crash and a new start leave of the one before."""

import os
import signal

import pytest
import trio
from structlog.testing import capture_logs

from tests.supervisor.stage import DEADLINE, Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, InstanceInfo
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.operations.create import create
from vtpmd.operations.info import info
from vtpmd.operations.start import start
from vtpmd.storage.errors import StorageError
from vtpmd.supervisor import pauses, reasons, serving
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.registry import Registry
from vtpmd.supervisor.worker import Worker


async def defective(*_: object) -> Worker:
    raise ZeroDivisionError


async def crash(stage: Stage, found: InstanceInfo) -> str:
    """Kill the worker; the reason of the state that follows."""
    assert found.worker is not None
    os.kill(found.worker.pid, signal.SIGKILL)
    return (await stage.until(found.name, "failed")).reason


async def test_a_defect_before_it_runs_is_told_and_may_be_tried_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(serving, "serve", defective)
        with pytest.raises(OperationError, match="internal error, see the log") as refused:
            await start(stage.fleet, "web1")
    assert refused.value.problem is problems.INTERNAL
    assert (await info(stage.fleet, "web1")).state == "failed"
    assert "defect" in {line["event"] for line in logs}
    assert (await start(stage.fleet, "web1")).state == "running"


async def test_a_defect_while_it_runs_leaves_it_to_its_worker(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await create(stage.fleet, CreateRequest(name="web1", start=False))
    with monkeypatch.context() as patch:
        patch.setattr(Worker, "ended", defective)
        with pytest.raises(OperationError, match="internal error, see the log"):
            await start(stage.fleet, "web1")
    assert (await info(stage.fleet, "web1")).state == "failed"
    with capture_logs() as logs:
        assert (await start(stage.fleet, made.name)).reason == reasons.ADOPTED
    assert "adopted" in {line["event"] for line in logs}


async def test_a_start_begins_anew_to_count_crashes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "MAX_CRASHES", 1)
    found = await create(stage.fleet, CreateRequest(name="web1"))
    assert "next attempt in" in await crash(stage, found)
    found = await stage.until("web1", "running")
    assert found.reason.startswith("restarted: its worker")
    assert "now only every 60 s" in await crash(stage, found)
    found = await start(stage.fleet, "web1")
    assert found.state == "running"
    assert "next attempt in" in await crash(stage, found)


async def test_whoever_connects_to_what_keeps_crashing_is_turned_away_and_told_in_the_log(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket stays: a machine is refused at once, and served again without anybody's help."""
    monkeypatch.setattr(pauses, "MAX_CRASHES", 0)
    found = await create(stage.fleet, CreateRequest(name="web1"))
    await crash(stage, found)
    with capture_logs() as logs:
        client = await trio.open_unix_socket(found.control_socket)
        async with client:
            assert await client.receive_some(1) == b""
    told = next(line for line in logs if line["event"] == "client-turned-away")
    assert "ended unexpectedly (SIGKILL)" in told["reason"]
    assert (await info(stage.fleet, "web1")).state == "failed"


async def test_what_keeps_crashing_is_tried_again_slowly(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "MAX_CRASHES", 0)
    monkeypatch.setattr(pauses, "SLOW", 0.05)
    found = await create(stage.fleet, CreateRequest(name="web1"))
    for _ in range(3):
        assert found.worker is not None
        os.kill(found.worker.pid, signal.SIGKILL)
        killed = found.worker.pid
        with trio.fail_after(DEADLINE):
            while (found := await info(stage.fleet, "web1")).worker is None or (
                found.worker.pid == killed
            ):
                await trio.lowlevel.checkpoint()
    async with await trio.open_unix_socket(found.control_socket) as client:
        await client.send_all(b"\0\0\0\1")
        assert len(await client.receive_some(8)) == 8


async def test_what_cannot_be_noted_to_be_served_is_not_served(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would not be after a restart of the host, though its start was said to have succeeded."""

    def full(registry: Registry, metadata: Metadata) -> None:
        raise StorageError("full", "no space left")

    made = await create(stage.fleet, CreateRequest(name="web1", start=False))
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "update", full)
        with pytest.raises(OperationError, match="no space left"):
            await start(stage.fleet, "web1")
    found = await info(stage.fleet, "web1")
    assert (found.state, found.autostart) == ("stopped", False)
    assert "no space left" in found.reason
    assert not await trio.Path(made.control_socket).exists()
    started = await start(stage.fleet, "web1")
    assert (started.state, started.autostart) == ("running", True)


async def test_a_start_that_fails_is_noted_and_told_once(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    stage.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
    with pytest.raises(OperationError, match="the KMS is down"):
        await start(stage.fleet, "web1")
    found = await info(stage.fleet, "web1")
    assert (found.state, found.autostart) == ("locked", True)
