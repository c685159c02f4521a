"""Instances from creation to deletion: real workers, and a key provider that can fail."""

import os
import signal

import pytest

from tests.operations.steps import there, wanted
from tests.supervisor.stage import Stage
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import StopRequest
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.operations.create import create
from vtpmd.operations.delete import delete
from vtpmd.operations.info import info as info_of
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop
from vtpmd.supervisor import pauses
from vtpmd.supervisor.fleet import Fleet


async def test_a_locked_instance_can_be_stopped_and_deleted(stage: Stage) -> None:
    await create(stage.fleet, wanted("web1", start=False))
    stage.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
    for finish in (
        lambda: stop(stage.fleet, "web1", StopRequest()),
        lambda: delete(stage.fleet, "web1"),
    ):
        with pytest.raises(OperationError):
            await start(stage.fleet, "web1")
        await finish()
    assert list(stage.fleet) == []
    assert stage.host.registry.load() == []


async def test_a_worker_that_keeps_crashing_is_tried_again_slowly(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "MAX_CRASHES", 1)
    await create(stage.fleet, wanted("web1"))
    await create(stage.fleet, wanted("web2"))
    for attempts in (1, 0):
        info = await stage.until("web1", "running")
        assert info.worker is not None
        os.kill(info.worker.pid, signal.SIGKILL)
        info = await stage.until("web1", "failed")
        assert ("next attempt" in info.reason) is bool(attempts)
    assert there(info)
    assert (await info_of(stage.fleet, "web2")).state == "running"
    assert (await start(stage.fleet, "web1")).state == "running"  # by hand it may be tried


async def test_starting_and_stopping_twice_changes_nothing(stage: Stage) -> None:
    first = await create(stage.fleet, wanted("web1"))
    again = await start(stage.fleet, "web1")
    assert first.worker is not None
    assert again.worker is not None
    assert again.worker.pid == first.worker.pid
    assert (await stop(stage.fleet, "web1", StopRequest())).state == "stopped"
    assert (await stop(stage.fleet, "web1", StopRequest())).state == "stopped"


async def test_a_worker_the_daemon_lost_sight_of_keeps_its_state_to_itself(stage: Stage) -> None:
    """As after a restart of the daemon when somebody has cleared the runtime directory."""
    info = await create(stage.fleet, wanted("web1"))
    for path in (f"{stage.directory}/run/workers/{info.uuid}", info.control_socket):
        os.unlink(path)
    blind = Fleet(stage.host)
    await blind.open(stage.host.registry.load())
    with pytest.raises(OperationError, match="another worker still uses"):
        await start(blind, "web1")
    with pytest.raises(OperationError, match="another worker still uses"):
        await delete(blind, "web1")
    assert (await info_of(stage.fleet, "web1")).worker is not None
