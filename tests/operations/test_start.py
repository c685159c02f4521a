"""Start: with the key of whoever has it, at once, and with the worker that is there."""

import os
import signal
from dataclasses import replace

import pytest
import trio
from structlog.testing import capture_logs

from tests.operations.steps import hung_up_on, wanted
from tests.supervisor.stage import DEADLINE, Stage
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, RekeyRequest, StopRequest
from vtpmd.kms.errors import KeyRefusedError, KeyUnavailableError
from vtpmd.operations.create import create
from vtpmd.operations.info import info as info_of
from vtpmd.operations.rekey import rekey
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop
from vtpmd.supervisor import adoption
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.keys import Keys


async def test_the_recovery_slot_opens_when_the_primary_key_is_lost(stage: Stage) -> None:
    providers = {"main": stage.provider, "other": stage.other}
    host = replace(stage.host, keys=Keys(providers, "main", "other"))
    fleet = Fleet(host)
    info = await create(fleet, CreateRequest(name="web1", start=False))
    assert [(key.provider, key.purpose) for key in info.keys] == [
        ("main", "primary"),
        ("other", "recovery"),
    ]
    stage.provider.forget()
    assert (await start(fleet, "web1")).state == "running"
    assert (stage.provider.unwrapped, stage.other.unwrapped) == (1, 1)
    result = await rekey(fleet, "web1", RekeyRequest())  # by the recovery slot, too
    assert [key.purpose for key in result.keys] == ["primary", "recovery"]
    await stop(fleet, "web1", StopRequest())
    stage.other.forget()
    assert (await start(fleet, "web1")).state == "running"
    await stop(fleet, "web1", StopRequest())


async def test_start_tries_a_locked_instance_at_once(stage: Stage) -> None:
    await create(stage.fleet, wanted("web1", start=False))
    stage.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
    for _ in range(6):  # the next attempt by itself is half a minute away
        with pytest.raises(OperationError):
            await start(stage.fleet, "web1")
    stage.provider.fault = None
    with trio.fail_after(10):
        assert (await start(stage.fleet, "web1")).state == "running"


@pytest.mark.parametrize(
    "fault", [KeyUnavailableError("no such KEK", retry=False), KeyRefusedError("it does not open")]
)
async def test_what_no_retry_can_mend_is_not_retried(stage: Stage, fault: Exception) -> None:
    await create(stage.fleet, wanted("web1", start=False))
    stage.provider.fault = fault
    with pytest.raises(OperationError):
        await start(stage.fleet, "web1")
    info = await info_of(stage.fleet, "web1")
    assert info.state == "locked"
    assert "next attempt" not in info.reason
    assert await hung_up_on(info)
    assert stage.provider.unwrapped == 1
    assert (await stop(stage.fleet, "web1", StopRequest())).state == "stopped"


async def test_a_defect_of_one_provider_does_not_keep_the_recovery_slot_shut(stage: Stage) -> None:
    providers = {"main": stage.provider, "other": stage.other}
    fleet = Fleet(replace(stage.host, keys=Keys(providers, "main", "other")))
    await create(fleet, wanted("web1", start=False))
    stage.provider.fault = AttributeError("a foreign package's")
    with capture_logs() as logs:
        assert (await start(fleet, "web1")).state == "running"
    assert [line["operation"] for line in logs if line["event"] == "key-provider-defect"]
    await stop(fleet, "web1", StopRequest())


async def test_a_worker_that_was_too_slow_is_found_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new daemon says that a worker is silent, and meets it when it answers after all."""
    first = await create(stage.fleet, wanted("web1"))
    assert first.worker is not None
    fresh = Fleet(stage.host)
    os.kill(first.worker.pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(adoption, "GREETING_TIMEOUT", 0.01)
        await fresh.open(stage.host.registry.load())
    instance = fresh.find("web1")
    with trio.fail_after(DEADLINE):
        while f"process {first.worker.pid}) has not answered" not in instance.reason:
            await trio.lowlevel.checkpoint()
    silent = (await info_of(fresh, "web1")).worker
    assert silent is not None
    assert (silent.pid, silent.tpm) == (first.worker.pid, "unknown")
    os.kill(first.worker.pid, signal.SIGCONT)
    with trio.fail_after(DEADLINE):
        while "has not answered" in instance.reason:
            await trio.lowlevel.checkpoint()
    found = (await info_of(fresh, "web1")).worker
    assert found is not None
    assert found.tpm == "off"
    again = await start(fresh, "web1")
    assert again.worker is not None
    assert (again.state, again.worker.pid) == ("running", first.worker.pid)
    await stop(fresh, "web1", StopRequest())
