"""Instances from creation to deletion: real workers, and a key provider that can fail."""

import contextlib
import os
import signal
import socket
from dataclasses import replace

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from tests.supervisor.stage import DEADLINE, Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, InstanceInfo, RekeyRequest, StopRequest, UnlockRequest
from vtpmd.kms.errors import KeyRefusedError, KeyUnavailableError
from vtpmd.operations.create import create
from vtpmd.operations.delete import delete
from vtpmd.operations.info import info as info_of
from vtpmd.operations.rekey import rekey
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop
from vtpmd.operations.unlock import unlock, unlock_all
from vtpmd.supervisor import serving, worker
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.keys import Keys

GET_CAPABILITY = bytes([0, 0, 0, 1])


def there(info: InstanceInfo) -> bool:
    """Whether the instance's control socket exists."""
    return os.path.exists(info.control_socket)


async def hung_up_on(info: InstanceInfo) -> bool:
    """Whether whoever connects now finds the connection closed, unlike a worker's."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(info.control_socket)
        client.setblocking(False)
        with contextlib.suppress(BrokenPipeError):
            client.send(GET_CAPABILITY)
        with trio.fail_after(10):
            await trio.lowlevel.wait_readable(client)
        try:
            return not client.recv(100)
        except ConnectionResetError:
            return True


def wanted(name: str, start: bool = True) -> CreateRequest:
    return CreateRequest(name=name, start=start)


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
    assert stage.provider.handed_out == bytes(32)


async def test_a_locked_instance_is_unlocked_when_the_key_is_back(stage: Stage) -> None:
    await create(stage.fleet, wanted("web1", start=False))
    stage.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
    with pytest.raises(OperationError) as refused:
        await start(stage.fleet, "web1")
    assert refused.value.problem is problems.KEY_UNAVAILABLE
    info = await info_of(stage.fleet, "web1")
    assert info.state == "locked"
    assert "the KMS is down; next attempt in 1.0 s" in info.reason
    assert await hung_up_on(info)
    stage.provider.fault = None
    info = await stage.until("web1", "running")  # by itself
    assert not await hung_up_on(info)


async def test_unlock_tries_all_locked_instances_of_a_provider_at_once(stage: Stage) -> None:
    for name, provider in (("web1", "main"), ("web2", "main"), ("db1", "other")):
        await create(stage.fleet, CreateRequest(name=name, provider=provider, start=False))
    stage.provider.fault = stage.other.fault = KeyUnavailableError("the KMS is down", retry=True)
    for name in ("web1", "web2", "db1"):
        with pytest.raises(OperationError):
            await start(stage.fleet, name)
    stage.provider.fault = None
    result = await unlock_all(stage.fleet, UnlockRequest(provider="main"))
    assert (sorted(result.unlocked), result.failed) == (["web1", "web2"], ())
    result = await unlock_all(stage.fleet, UnlockRequest(provider=None))
    assert (result.unlocked, [each.name for each in result.failed]) == ((), ["db1"])
    assert "the KMS is down" in result.failed[0].detail
    stage.other.fault = None
    assert (await unlock(stage.fleet, "db1")).state == "running"
    assert (await unlock(stage.fleet, "db1")).state == "running"


async def test_an_instance_whose_provider_is_configured_no_more_is_locked(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1", provider="other", start=False))
    entries = stage.host.registry.load()
    configured = stage.host.keys
    without = Fleet(replace(stage.host, keys=Keys({"main": stage.provider}, "main")))
    with capture_logs() as logs:
        await without.open(entries)
    assert {
        "event": "key-provider-not-configured",
        "provider": "other",
        "instances": ["web1"],
    }.items() <= next(entry for entry in logs if entry["log_level"] == "warning").items()
    info = await info_of(without, "web1")
    assert (info.state, info.reason) == ("locked", "its key provider is not configured: other")
    with pytest.raises(OperationError, match="there is no key provider other"):
        await unlock(without, "web1")
    assert (await info_of(without, "web1")).state == "locked"
    again = Fleet(replace(stage.host, keys=configured))
    await again.open(entries)
    assert (await info_of(again, "web1")).state == "stopped"


async def test_what_was_not_to_be_served_is_stopped_when_it_is_unlocked(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    stage.fleet.find("web1").lock("for a test")
    assert (await unlock(stage.fleet, "web1")).state == "stopped"


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
    """A new daemon gives up waiting for a worker; `start` asks it once more."""
    first = await create(stage.fleet, wanted("web1"))
    assert first.worker is not None
    fresh = Fleet(stage.host)
    os.kill(first.worker.pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "ADOPTION_TIMEOUT", 0.01)
        await fresh.open(stage.host.registry.load())
    instance = fresh.find("web1")
    with trio.fail_after(DEADLINE):
        while "another process listens" not in instance.condition.reason:
            await trio.lowlevel.checkpoint()
    os.kill(first.worker.pid, signal.SIGCONT)
    again = await start(fresh, "web1")
    assert again.worker is not None
    assert (again.state, again.worker.pid) == ("running", first.worker.pid)
    await stop(fresh, "web1", StopRequest())


async def test_a_worker_that_keeps_crashing_is_given_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MAX_CRASHES", 1)
    await create(stage.fleet, wanted("web1"))
    await create(stage.fleet, wanted("web2"))
    for attempts in (1, 0):
        info = await stage.until("web1", "running")
        assert info.worker is not None
        os.kill(info.worker.pid, signal.SIGKILL)
        info = await stage.until("web1", "failed")
        assert ("next attempt" in info.reason) is bool(attempts)
    assert not there(info)
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
