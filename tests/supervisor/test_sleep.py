"""TPMs that nobody uses sleep, and wake for whoever wants them, whatever ends meanwhile."""

import errno
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack
from uuid import UUID

import pytest
import trio
import trio.testing

from tests.faults.limits import starved
from tests.keeper.harness import readable
from tests.operations.steps import there, wanted
from tests.operations.test_upgrade import attached, frozen, pid_of, started
from tests.supervisor.stage import DEADLINE, Stage, keeper_of, staged, until
from tests.worker.harness import GET_RANDOM_16, wait_for
from vtpmd.api.schema import MigrateRequest, RekeyRequest, StopRequest
from vtpmd.ipc.messages import Awake
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.linux.descriptors import close_fds
from vtpmd.operations.create import create
from vtpmd.operations.info import info as info_of
from vtpmd.operations.migrate import migrate
from vtpmd.operations.pcr import pcr
from vtpmd.operations.rekey import rekey
from vtpmd.operations.stop import stop
from vtpmd.operations.upgrade import upgrade, upgrade_all
from vtpmd.supervisor import keeper_offers, keeper_process, serving_lock
from vtpmd.supervisor.zygote import SpawnError, WorkerProcess

IDLE = 0.3
STOPS = 20  # seconds, of which a stop takes a part of one
ACT_SET_TIMEOUT_2 = "80020000001f0000019840000110" + "00000009" + "400000090000000000" + "00000002"
GET_ACT = "8001000000160000017a0000000a4000011000000001"
EXTEND_16 = "80020000004100000182000000100000000940000009000000000000000001000b"


@pytest.fixture
async def dormitory(nursery: trio.Nursery) -> AsyncIterator[Stage]:
    async with staged(nursery, idle_timeout=IDLE) as stage:
        yield stage


async def asleep(stage: Stage, name: str = "web1") -> None:
    instance = stage.fleet.find(name)
    with trio.fail_after(DEADLINE):
        while True:  # who has just been used may not be known to be awake yet
            await until(lambda: instance.asleep)
            info = await info_of(stage.fleet, name)
            if info.asleep and info.worker is None:
                break
    assert info.state == "running"
    assert info.reason.startswith("asleep")


async def awake(stage: Stage, name: str = "web1") -> None:
    instance = stage.fleet.find(name)
    await until(lambda: not instance.asleep)


async def other_keeper(stage: Stage, before: int | None) -> None:
    """Wait until the kernel says that another process than `before` is the keeper."""
    await until(lambda: keeper_of(stage.host.configuration) not in (None, before))


async def test_what_nobody_uses_sleeps_until_somebody_does(dormitory: Stage) -> None:
    """The machine stays connected, and neither its KMS nor a reset is needed."""
    info = await create(dormitory.fleet, wanted("web1"))
    dormitory.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
    with attached(info) as guest:
        await started(guest)
        value = bytes(32)
        for number in range(3):
            event = bytes([number] * 32)
            assert (await guest.tpm(EXTEND_16 + event.hex()))[6:10] == bytes(4)
            value = hashlib.sha256(value + event).digest()
            await asleep(dormitory)
        assert (await pcr(dormitory.fleet, "web1")).banks["sha256"][16] == value.hex()
        after = await info_of(dormitory.fleet, "web1")
        assert after.reason == f"in use by QEMU (pid {os.getpid()})"
        assert after.since == info.since


async def test_whoever_connects_wakes_it(dormitory: Stage) -> None:
    info = await create(dormitory.fleet, wanted("web1"))
    await asleep(dormitory)
    with attached(info) as guest:
        await started(guest)
        await asleep(dormitory)


async def test_it_wakes_by_itself_when_its_countdown_timer_ends(dormitory: Stage) -> None:
    info = await create(dormitory.fleet, wanted("web1"))
    with attached(info) as guest:
        await started(guest)
        assert (await guest.tpm(ACT_SET_TIMEOUT_2))[6:10] == bytes(4)
        await asleep(dormitory)
        with trio.fail_after(DEADLINE):
            await awake(dormitory)
        await asleep(dormitory)  # once more, with nothing to wake for
        # TPMS_ACT_DATA: handle, timeout, attributes; signaled is bit 0
        assert (await guest.tpm(GET_ACT))[-8:] == bytes(7) + b"\1"


async def test_a_worker_that_gave_the_keeper_up_is_told_of_it_again(
    dormitory: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper did not answer in time; as soon as it does, the TPM can sleep."""
    monkeypatch.setattr(keeper_offers, "AGAIN", 0.0)
    await create(dormitory.fleet, wanted("web1"))
    await asleep(dormitory)
    keeper, instance = keeper_of(dormitory.host.configuration), dormitory.fleet.find("web1")
    assert keeper is not None
    await pcr(dormitory.fleet, "web1")
    with frozen(keeper):
        await until(
            lambda: dormitory.host.journal.after(0, lambda each: each.kind == "keeper-lost")
        )
        assert instance.worker is not None
    await asleep(dormitory)


async def test_a_worker_that_could_not_be_told_of_the_keeper_is_told_later(
    dormitory: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon was short of descriptors just then."""
    monkeypatch.setattr(keeper_offers, "AGAIN", 0.05)
    await create(dormitory.fleet, wanted("web1"))
    ours = dormitory.host.keeper
    assert ours is not None
    offered = ours.offers._offered[dormitory.fleet.find("web1").metadata.uuid]
    assert not offered.told
    with starved():
        await ours.offers._offer(offered, 0.0)
    await asleep(dormitory)


async def test_one_that_sleeps_is_stopped_in_order(dormitory: Stage) -> None:
    info = await create(dormitory.fleet, wanted("web1"))
    with attached(info) as guest:
        await started(guest)
        await asleep(dormitory)
    assert (await stop(dormitory.fleet, "web1", StopRequest())).state == "stopped"
    assert not there(info)


async def test_one_that_sleeps_is_upgraded(dormitory: Stage) -> None:
    await create(dormitory.fleet, wanted("web1"))
    await asleep(dormitory)
    upgraded = await upgrade(dormitory.fleet, "web1")
    assert pid_of(await info_of(dormitory.fleet, "web1")) == upgraded.pid
    await asleep(dormitory)


async def test_all_are_upgraded_while_one_sleeps_on(dormitory: Stage) -> None:
    """Another keeper has it, which wakes it; neither the KMS nor its machine is asked."""
    info = await create(dormitory.fleet, wanted("web1"))
    with attached(info) as guest:
        await started(guest)
        event = bytes([7] * 32)
        await guest.tpm(EXTEND_16 + event.hex())
        await asleep(dormitory)
        dormitory.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
        for _ in range(2):
            before = keeper_of(dormitory.host.configuration)
            result = await upgrade_all(dormitory.fleet)
            assert (result.upgraded, result.failed, result.asleep) == ((), (), ("web1",))
            await other_keeper(dormitory, before)
            info = await info_of(dormitory.fleet, "web1")
            assert info.asleep
            assert f"QEMU (pid {os.getpid()}) stays connected" in info.reason
        value = hashlib.sha256(bytes(32) + event).hexdigest()
        assert (await pcr(dormitory.fleet, "web1")).banks["sha256"][16] == value
        assert len(await guest.tpm(GET_RANDOM_16)) == 28
        await asleep(dormitory)


async def test_where_the_keeper_can_t_be_replaced_sleepers_are_woken(
    dormitory: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(dormitory.fleet, wanted("web1"))
    await asleep(dormitory)
    keeper = keeper_of(dormitory.host.configuration)

    def start(fds: object) -> int:
        raise OSError(errno.EAGAIN, "no process")

    monkeypatch.setattr(keeper_process, "start_keeper", start)
    result = await upgrade_all(dormitory.fleet)
    assert [each.name for each in result.upgraded] == ["web1"]
    assert result.asleep == ()
    assert keeper_of(dormitory.host.configuration) == keeper
    await asleep(dormitory)


async def test_who_wakes_while_the_keeper_is_replaced_is_answered(dormitory: Stage) -> None:
    names = [f"web{number}" for number in range(3)]
    infos = [await create(dormitory.fleet, wanted(name)) for name in names]
    keeper = dormitory.host.keeper
    assert keeper is not None
    with ExitStack() as machines:
        guests = [machines.enter_context(attached(info)) for info in infos]
        for guest in guests:
            await started(guest)
        for name in names:
            await asleep(dormitory, name)
        before = keeper_of(dormitory.host.configuration)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.replace)
            while keeper_of(dormitory.host.configuration) == before:
                for guest in guests:
                    assert len(await guest.tpm(GET_RANDOM_16)) == 28
        for guest in guests:
            assert len(await guest.tpm(GET_RANDOM_16)) == 28


async def test_without_the_keeper_what_slept_goes_on_from_duplicates(dormitory: Stage) -> None:
    info = await create(dormitory.fleet, wanted("web1"))
    with attached(info) as guest:
        await started(guest)
        event = bytes([7] * 32)
        await guest.tpm(EXTEND_16 + event.hex())
        await asleep(dormitory)
        keeper = keeper_of(dormitory.host.configuration)
        assert keeper is not None
        os.kill(keeper, signal.SIGKILL)
        await awake(dormitory)
        value = hashlib.sha256(bytes(32) + event).hexdigest()
        assert (await pcr(dormitory.fleet, "web1")).banks["sha256"][16] == value
        assert len(await guest.tpm(GET_RANDOM_16)) == 28
        await asleep(dormitory)  # at a new keeper


async def test_while_the_keeper_hangs_who_is_awake_is_served(dormitory: Stage) -> None:
    info = await create(dormitory.fleet, wanted("web1"))
    other = await create(dormitory.fleet, wanted("web2"))
    await asleep(dormitory)
    await asleep(dormitory, "web2")
    keeper = keeper_of(dormitory.host.configuration)
    assert keeper is not None
    with attached(info) as guest, attached(other) as neighbour:
        await started(guest)
        with frozen(keeper):
            for _ in range(20):
                assert len(await guest.tpm(GET_RANDOM_16)) == 28
        await started(neighbour)


async def test_many_are_woken_at_once(dormitory: Stage) -> None:
    """More than there are workers forked ahead of time; each answers its own machine."""
    names = [f"web{number}" for number in range(5)]
    infos = [await create(dormitory.fleet, wanted(name)) for name in names]
    with ExitStack() as machines:
        guests = [machines.enter_context(attached(info)) for info in infos]
        for number, guest in enumerate(guests):
            await started(guest)
            await guest.tpm(EXTEND_16 + bytes([number] * 32).hex())
        for name in names:
            await asleep(dormitory, name)
        for guest in guests:
            guest.send(GET_RANDOM_16)
        for guest in guests:
            assert len(await guest.answer()) == 28
    for number, name in enumerate(names):
        value = hashlib.sha256(bytes(32) + bytes([number] * 32)).hexdigest()
        assert (await pcr(dormitory.fleet, name)).banks["sha256"][16] == value


async def test_what_changes_one_that_sleeps_wakes_it(dormitory: Stage) -> None:
    await create(dormitory.fleet, wanted("web1"))
    await asleep(dormitory)
    assert (await rekey(dormitory.fleet, "web1", RekeyRequest(deep=True))).changed
    await asleep(dormitory)
    assert (await migrate(dormitory.fleet, "web1", MigrateRequest())).worker is not None
    await asleep(dormitory)
    declared = await migrate(dormitory.fleet, "web1", MigrateRequest(step="cancel"))
    assert declared.worker is not None
    assert not declared.worker.declared


async def test_one_that_has_slept_and_was_upgraded_since_is_stopped(dormitory: Stage) -> None:
    """Who woke it once does not pass for who serves it now."""
    info = await create(dormitory.fleet, wanted("web1"))
    await asleep(dormitory)
    upgraded = await upgrade(dormitory.fleet, "web1")
    assert pid_of(await info_of(dormitory.fleet, "web1")) == upgraded.pid
    with trio.fail_after(STOPS):
        assert (await stop(dormitory.fleet, "web1", StopRequest())).state == "stopped"
    assert not there(info)


async def test_one_that_is_stopped_just_as_it_falls_asleep_is_woken_for_that(
    dormitory: Stage,
) -> None:
    info = await create(dormitory.fleet, wanted("web1"))
    instance, keeper = dormitory.fleet.find("web1"), dormitory.host.keeper
    assert keeper is not None
    with attached(info) as guest:
        await started(guest)
        await asleep(dormitory)
        async with trio.open_nursery() as nursery:
            async with keeper._lock:  # what it keeps is not asked meanwhile
                guest.send(GET_RANDOM_16)
                await awake(dormitory)
                while await instance.status() is not None:
                    await trio.lowlevel.checkpoint()
                nursery.start_soon(stop, dormitory.fleet, "web1", StopRequest(force=True))
                await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(STOPS):
                await until(lambda: instance.condition.state == "stopped")
    assert not there(info)


async def test_what_the_keeper_woke_as_it_ended_is_not_woken_twice(dormitory: Stage) -> None:
    info = await create(dormitory.fleet, wanted("web1"))
    ours = dormitory.host.keeper
    with attached(info) as guest:
        await started(guest)
        await asleep(dormitory)
        pid = keeper_of(dormitory.host.configuration)
        assert ours is not None
        assert ours._channel is not None
        assert pid is not None
        guest.send(GET_RANDOM_16)
        assert readable(ours._channel)
        told, fds = ours._channel.receive()  # nobody tells the daemon
        close_fds(fds)
        assert isinstance(told, Awake)
        os.kill(pid, signal.SIGKILL)
        await awake(dormitory)
        assert len(await guest.answer()) == 28
        assert pid_of(await info_of(dormitory.fleet, "web1")) == told.pid


async def test_what_slept_waits_for_its_key_where_the_keeper_ends(dormitory: Stage) -> None:
    info = await create(dormitory.fleet, wanted("web1"))
    instance = dormitory.fleet.find("web1")
    with attached(info) as guest:
        await started(guest)
        event = bytes([7] * 32)
        await guest.tpm(EXTEND_16 + event.hex())
        await asleep(dormitory)
        dormitory.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
        pid = keeper_of(dormitory.host.configuration)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: "the KMS is down" in instance.reason)
        assert instance.condition.state == "running"
        dormitory.provider.fault = None
        value = hashlib.sha256(bytes(32) + event).hexdigest()
        guest.send(GET_RANDOM_16)
        assert len(await guest.answer()) == 28
        assert (await pcr(dormitory.fleet, "web1")).banks["sha256"][16] == value


async def test_what_slept_waits_for_a_worker_where_the_keeper_ends(
    dormitory: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host can't fork just now: that costs nobody what the TPM has in memory."""
    info = await create(dormitory.fleet, wanted("web1"))
    instance, zygote = dormitory.fleet.find("web1"), dormitory.host.zygote
    spawn = zygote.spawn
    forks = False

    async def spawn_later(uuid: UUID, name: str, lock: int | None = None) -> WorkerProcess:
        if not forks:
            raise SpawnError("no process")
        return await spawn(uuid, name, lock)

    with attached(info) as guest:
        await started(guest)
        event = bytes([7] * 32)
        await guest.tpm(EXTEND_16 + event.hex())
        await asleep(dormitory)
        monkeypatch.setattr(zygote, "spawn", spawn_later)
        pid = keeper_of(dormitory.host.configuration)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: "no process" in instance.reason)
        assert instance.condition.state == "running"
        forks = True
        guest.send(GET_RANDOM_16)
        assert len(await guest.answer()) == 28
        await until(lambda: instance.worker is not None)  # which the guest may hear of earlier
        value = hashlib.sha256(bytes(32) + event).hexdigest()
        assert (await pcr(dormitory.fleet, "web1")).banks["sha256"][16] == value


async def test_what_waits_for_its_key_without_a_keeper_is_stopped(dormitory: Stage) -> None:
    await create(dormitory.fleet, wanted("web1"))
    instance = dormitory.fleet.find("web1")
    await asleep(dormitory)
    dormitory.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
    pid = keeper_of(dormitory.host.configuration)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: "the KMS is down" in instance.reason)
    assert (await stop(dormitory.fleet, "web1", StopRequest())).state == "stopped"


async def test_who_wakes_it_is_confined_as_the_daemon_says(nursery: trio.Nursery) -> None:
    """Not as the worker says that gives it back."""
    async with staged(nursery, idle_timeout=IDLE, sandbox="best-effort") as stage:
        await create(stage.fleet, wanted("web1"))
        await asleep(stage)
        await pcr(stage.fleet, "web1")
        worker = (await info_of(stage.fleet, "web1")).worker
        assert worker is not None
        assert worker.sandbox["mode"] == "best-effort"


async def test_a_daemon_that_is_short_of_descriptors_keeps_its_keeper(dormitory: Stage) -> None:
    """It can't take the duplicates of what falls asleep then, and asks for them later."""
    info = await create(dormitory.fleet, wanted("web1"))
    instance = dormitory.fleet.find("web1")
    with attached(info) as guest:
        await started(guest)
        event = bytes([7] * 32)
        await guest.tpm(EXTEND_16 + event.hex())
        await asleep(dormitory)
        keeper = keeper_of(dormitory.host.configuration)
        guest.send(GET_RANDOM_16)
        assert len(await guest.answer()) == 28
        await awake(dormitory)
        pid = pid_of(await info_of(dormitory.fleet, "web1"))
        with starved():
            await until(lambda: not os.path.exists(f"/proc/{pid}"))
            await trio.testing.wait_all_tasks_blocked(0.05)
        await until(lambda: instance.asleep)
        assert keeper_of(dormitory.host.configuration) == keeper
        value = hashlib.sha256(bytes(32) + event).hexdigest()
        assert (await pcr(dormitory.fleet, "web1")).banks["sha256"][16] == value


async def test_a_keeper_that_is_looked_for_is_not_started_twice(dormitory: Stage) -> None:
    """Who serves is told of the one that there is, as soon as it is found again."""
    await create(dormitory.fleet, wanted("web1"))
    await asleep(dormitory)
    await create(dormitory.fleet, wanted("web2"))
    keeper, ours = keeper_of(dormitory.host.configuration), dormitory.host.keeper
    assert ours is not None
    offered = ours.offers._offered[dormitory.fleet.find("web2").metadata.uuid]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours._lose, "it does not answer")
        await trio.testing.wait_all_tasks_blocked()
        offered.told = False
        nursery.start_soon(ours.offers._offer, offered, 0.0)
    assert keeper_of(dormitory.host.configuration) == keeper
    await asleep(dormitory, "web2")
    assert dormitory.fleet.find("web1").asleep
    await pcr(dormitory.fleet, "web1")


async def test_who_stops_soon_needs_no_keeper(dormitory: Stage) -> None:
    """And leaves no lock behind."""
    info = await create(dormitory.fleet, wanted("web1"))
    await stop(dormitory.fleet, "web1", StopRequest())
    await trio.testing.wait_all_tasks_blocked(2 * IDLE)
    assert keeper_of(dormitory.host.configuration) is None
    assert not serving_lock.lock_path(dormitory.fleet.find("web1").endpoints.adoption).exists()
    assert not there(info)


@pytest.mark.parametrize("known", [False, True], ids=["not known to have ended", "known"])
async def test_who_asks_just_as_it_falls_asleep_is_answered(dormitory: Stage, known: bool) -> None:
    """Its worker has given it away and ends: another one answers."""
    info = await create(dormitory.fleet, wanted("web1"))
    instance, keeper = dormitory.fleet.find("web1"), dormitory.host.keeper
    assert keeper is not None
    with attached(info) as guest:
        await started(guest)
        await guest.tpm(EXTEND_16 + bytes([7] * 32).hex())
        await asleep(dormitory)
        asked = trio.Event()

        async def ask() -> None:
            assert (await pcr(dormitory.fleet, "web1")).banks["sha256"][16] != 64 * "0"
            asked.set()

        async with trio.open_nursery() as nursery, keeper._lock:  # which is not asked meanwhile
            guest.send(GET_RANDOM_16)
            await awake(dormitory)
            worker = instance.worker
            assert worker is not None
            if known:
                await until(lambda: instance.worker is None)
            else:
                wait_for(lambda: not running(worker.pid))  # nothing else runs here meanwhile
                assert instance.worker is worker
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert not asked.is_set()
        assert asked.is_set()


def running(pid: int) -> bool:
    """Whether this process has not ended."""
    return os.path.exists(f"/proc/{pid}")
