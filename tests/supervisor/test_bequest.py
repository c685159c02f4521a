"""A machine whose worker crashes keeps its TPM: that is off until the machine is reset."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import trio

from tests.operations.steps import wanted
from tests.operations.test_upgrade import STOP_TPM, Guest, attached, pid_of, started
from tests.supervisor.stage import DEADLINE, Stage, staged, until
from tests.worker.harness import FAILURE, GET_RANDOM_16
from vtpmd.api.schema import InstanceInfo, StopRequest
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.linux.descriptors import close_fds
from vtpmd.operations.create import create
from vtpmd.operations.info import info as info_of
from vtpmd.operations.stop import stop
from vtpmd.operations.upgrade import upgrade
from vtpmd.supervisor import keeper_offers

_PASSWORD = "00000009" + "40000009" + "0000" + "00" + "0000"
_INDEX = "01500000"
NV_DEFINE = (
    "80020000002d0000012a" + "40000001" + _PASSWORD + "0000"
    "000e" + _INDEX + "000b" + "00020002" + "0000" + "0008"
)
"""TPM2_NV_DefineSpace: eight octets that the owner writes and reads."""
NV_WRITE = "80020000002b00000137" + "40000001" + _INDEX + _PASSWORD + "0008" + "{}" + "0000"
NV_READ = "8002000000230000014e" + "40000001" + _INDEX + _PASSWORD + "0008" + "0000"


@pytest.fixture
async def stage(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """Nothing sleeps; the keeper is there as soon as QEMU is."""
    monkeypatch.setattr(keeper_offers, "_SPARED_CONNECTED", 0.0)
    async with staged(nursery) as stage:
        yield stage


async def left(stage: Stage, info: InstanceInfo) -> None:
    """Wait until the worker has left QEMU's connections with the keeper."""
    keeper = stage.host.keeper
    assert keeper is not None
    uuid = stage.fleet.find(info.name).metadata.uuid
    with trio.fail_after(DEADLINE):
        while not (fds := await keeper.bequest(uuid)):
            await trio.lowlevel.checkpoint()
    close_fds(fds)


async def crash(stage: Stage, info: InstanceInfo) -> None:
    """Kill its worker, and wait for the one that serves next."""
    pid = pid_of(await info_of(stage.fleet, info.name))
    os.kill(pid, signal.SIGKILL)
    with trio.fail_after(DEADLINE):
        while True:
            worker = (await info_of(stage.fleet, info.name)).worker
            if worker is not None and worker.pid != pid:
                return


async def reset(guest: Guest) -> None:
    assert await guest.control(STOP_TPM) == bytes(4)
    await started(guest)


async def test_a_machine_stays_connected_and_is_reset(stage: Stage) -> None:
    info = await create(stage.fleet, wanted("web1"))
    with attached(info) as guest:
        await started(guest)
        for _ in range(2):
            await left(stage, info)
            guest.send(GET_RANDOM_16)
            await guest.answer()
            await crash(stage, info)
            after = await info_of(stage.fleet, "web1")
            assert after.state == "running"
            assert "its TPM is off until its machine is reset" in after.reason
            assert after.worker is not None
            assert (after.worker.tpm, after.worker.clients) == ("off", 2)
            assert (await guest.tpm(GET_RANDOM_16)).hex() == FAILURE
            await reset(guest)
            assert len(await guest.tpm(GET_RANDOM_16)) == 28


async def test_what_was_stored_is_there_after_the_reset(stage: Stage) -> None:
    info = await create(stage.fleet, wanted("web1"))
    with attached(info) as guest:
        await started(guest)
        await left(stage, info)
        for command in (NV_DEFINE, NV_WRITE.format(b"precious".hex())):
            assert (await guest.tpm(command))[6:10] == bytes(4)
        await crash(stage, info)
        await reset(guest)
        assert b"precious" in await guest.tpm(NV_READ)


async def test_after_an_upgrade_too(stage: Stage) -> None:
    info = await create(stage.fleet, wanted("web1"))
    with attached(info) as guest:
        await started(guest)
        await left(stage, info)
        await upgrade(stage.fleet, "web1")
        await left(stage, info)
        await crash(stage, info)
        await reset(guest)


async def test_after_the_keeper_was_replaced_too(stage: Stage) -> None:
    """What a worker has left with one keeper is with the next, and what it leaves later as well."""
    info, keeper = await create(stage.fleet, wanted("web1")), stage.host.keeper
    assert keeper is not None
    with attached(info) as guest:
        await started(guest)
        await left(stage, info)
        await keeper.replace()
        await crash(stage, info)
        await reset(guest)
        await left(stage, info)
        await crash(stage, info)
        await reset(guest)


async def test_who_waits_for_an_instance_that_is_stopped_finds_out(stage: Stage) -> None:
    """Its worker has crashed, and the key that another one needs is not to be had."""
    info = await create(stage.fleet, wanted("web1"))
    with attached(info) as guest:
        await started(guest)
        await left(stage, info)
        stage.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
        os.kill(pid_of(await info_of(stage.fleet, "web1")), signal.SIGKILL)
        await stage.until("web1", "locked")
        guest.send(GET_RANDOM_16)
        assert (await stop(stage.fleet, "web1", StopRequest())).state == "stopped"
        with suppress(ConnectionResetError):  # a moment later: its command was read by nobody
            assert await guest.answer() == b""


async def test_it_goes_on_as_soon_as_its_key_is_there_again(stage: Stage) -> None:
    info = await create(stage.fleet, wanted("web1"))
    instance = stage.fleet.find("web1")
    with attached(info) as guest:
        await started(guest)
        await left(stage, info)
        stage.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
        os.kill(pid_of(await info_of(stage.fleet, "web1")), signal.SIGKILL)
        await stage.until("web1", "locked")
        guest.send(GET_RANDOM_16)
        stage.provider.fault = None
        await instance.unlock()
        assert (await guest.answer()).hex() == FAILURE
        await reset(guest)


async def test_an_instance_that_is_stopped_in_order_leaves_nothing(stage: Stage) -> None:
    info = await create(stage.fleet, wanted("web1"))
    with attached(info) as guest:
        await started(guest)
        await left(stage, info)
        await stop(stage.fleet, "web1", StopRequest(force=True))
        assert await guest.answer() == b""
    keeper = stage.host.keeper
    assert keeper is not None
    assert await keeper.bequest(stage.fleet.find("web1").metadata.uuid) == []


async def test_a_machine_of_another_instance_is_not_concerned(stage: Stage) -> None:
    infos = [await create(stage.fleet, wanted(name)) for name in ("web1", "web2")]
    with attached(infos[0]) as guest, attached(infos[1]) as neighbour:
        for each, info in zip((guest, neighbour), infos, strict=True):
            await started(each)
            await left(stage, info)
        await crash(stage, infos[0])
        assert len(await neighbour.tpm(GET_RANDOM_16)) == 28
        await reset(guest)
        assert len(await neighbour.tpm(GET_RANDOM_16)) == 28


async def test_one_that_woke_and_crashed_at_once(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(nursery, idle_timeout=1.0) as stage:
        info = await create(stage.fleet, wanted("web1"))
        instance = stage.fleet.find("web1")
        with attached(info) as guest:
            await started(guest)
            await until(lambda: instance.asleep)
            assert len(await guest.tpm(GET_RANDOM_16)) == 28
            await until(lambda: not instance.asleep)
            await crash(stage, info)
            await reset(guest)
            assert len(await guest.tpm(GET_RANDOM_16)) == 28
