"""One serving of an instance: what a defect, a crash and a new start leave of the one before."""

import os
import signal

import pytest
import trio
from structlog.testing import capture_logs

from tests.supervisor.stage import Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, InstanceInfo
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.operations.create import create
from vtpmd.operations.info import info
from vtpmd.operations.start import start
from vtpmd.storage.errors import StorageError
from vtpmd.supervisor import serving
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
        assert (await start(stage.fleet, made.name)).reason == serving.ADOPTED
    assert "adopted" in {line["event"] for line in logs}


async def test_a_start_begins_anew_to_count_crashes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MAX_CRASHES", 1)
    found = await create(stage.fleet, CreateRequest(name="web1"))
    assert "next attempt in" in await crash(stage, found)
    found = await stage.until("web1", "running")
    assert found.reason.startswith("restarted: its worker")
    assert "left alone" in await crash(stage, found)
    found = await start(stage.fleet, "web1")
    assert found.reason == serving.READY
    assert "next attempt in" in await crash(stage, found)


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
