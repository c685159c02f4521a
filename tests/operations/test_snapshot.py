"""Snapshots: made while a machine uses the TPM, turned back to, bounded, and open after a rekey."""

from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.faults.conftest import host
from tests.faults.machine import INDEX_SIZE, Machine
from tests.operations.test_migrate import DECLARE, NAME, aside, qemu
from tests.peers.vtpmd import Vtpmd, VtpmdInstance
from tests.state_files import envelope_of
from tests.supervisor.stage import Stage
from tests.worker.harness import Qemu
from tests.worker.test_handover import read_state
from vtpmd.api import problems
from vtpmd.api.problems import OperationError, Problem
from vtpmd.api.schema import (
    CreateRequest,
    RekeyRequest,
    SnapshotDeleteRequest,
    SnapshotInfo,
    SnapshotRequest,
    SnapshotRestoreRequest,
    StopRequest,
)
from vtpmd.operations import snapshot
from vtpmd.operations.create import create
from vtpmd.operations.delete import delete
from vtpmd.operations.info import info
from vtpmd.operations.migrate import migrate
from vtpmd.operations.rekey import rekey
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop
from vtpmd.supervisor.snapshots import MAX_SNAPSHOTS

__all__ = ["host", "qemu"]
BACK = SnapshotRestoreRequest(snapshot="one", confirmed=True, start=True)


def path_of(stage: Stage, uuid: object, name: str) -> Path:
    return stage.directory / "state" / "instances" / str(uuid) / name


async def made(stage: Stage, label: str = "one") -> SnapshotInfo:
    return await snapshot.create(stage.fleet, NAME, SnapshotRequest(label=label))


async def refused(act: Awaitable[object], problem: Problem) -> str:
    with pytest.raises(OperationError) as caught:
        await act
    assert caught.value.problem is problem, caught.value.detail
    return caught.value.detail


@pytest.fixture
def instance(host: Vtpmd) -> Iterator[VtpmdInstance]:
    yield host.create("snapped")
    host.control("delete", "snapped", "--yes")


def test_what_the_machine_had_stored_is_there_again(instance: VtpmdInstance) -> None:
    """The real daemon, the real vtpmctl, commands of a machine before, between and afterwards."""
    ctl = instance.daemon.control
    with Machine(instance) as machine:
        machine.define_indices()
        machine.write(b"1" * INDEX_SIZE)
        counted = machine.count()
        first = ctl("snapshot", "create", "snapped", "before")
        machine.write(b"2" * INDEX_SIZE)
        machine.increment()
        assert machine.count() == counted + 1
        assert ctl("snapshot", "create", "snapped")["generation"] > first["generation"]
        assert len(ctl("snapshot", "list", "snapped")["snapshots"]) == 2
    instance.stop()
    result = instance.daemon.ctl("snapshot", "restore", "snapped", "before")
    assert result.returncode == 11
    assert f"(generation {first['generation']}, epoch 0) would take the place" in result.stderr
    ctl("snapshot", "restore", "snapped", "before", "--yes", "--start")
    with Machine(instance) as machine:
        assert machine.read() == b"1" * INDEX_SIZE
        assert machine.count() == counted
    found = instance.info()
    assert (found["worker"]["epoch"], found["rollback"]) == (1, "")
    assert len(ctl("snapshot", "list", "snapped")["snapshots"]) == 2
    ctl("snapshot", "delete", "snapped", "before")
    assert instance.daemon.ctl("snapshot", "restore", "snapped", "before").returncode == 5
    instance.stop()


async def test_a_running_instance_is_not_turned_back(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name=NAME))
    await made(stage)
    with capture_logs() as logs:
        await refused(snapshot.restore(stage.fleet, NAME, BACK), problems.RUNNING_CONFLICT)
    assert "snapshot-restored" not in [line["event"] for line in logs]
    assert (await info(stage.fleet, NAME)).state == "running"


async def test_there_are_so_many_and_no_more(stage: Stage) -> None:
    of = await create(stage.fleet, CreateRequest(name=NAME, start=False))
    for number in range(MAX_SNAPSHOTS):
        await made(stage, f"s{number:02}")
    detail = await refused(made(stage, "more"), problems.UNAVAILABLE)
    assert "delete one first" in detail
    await refused(made(stage, "s00"), problems.UNAVAILABLE)
    await snapshot.delete(stage.fleet, NAME, SnapshotDeleteRequest(snapshot="s00"))
    await refused(made(stage, "s01"), problems.EXISTS)
    path_of(stage, of.uuid, "snapshots/notes.txt").write_text("not ours")
    path_of(stage, of.uuid, "snapshots/odd.tar").write_text("no bundle")
    found = await snapshot.list_(stage.fleet, NAME)
    assert [each.name for each in found.snapshots if each.reason] == ["odd"]
    odd = SnapshotRestoreRequest(snapshot="odd", confirmed=True)
    await refused(snapshot.restore(stage.fleet, NAME, odd), problems.BUNDLE_REFUSED)
    gone = SnapshotDeleteRequest(snapshot="s00")
    await refused(snapshot.delete(stage.fleet, NAME, gone), problems.NO_SNAPSHOT)
    await delete(stage.fleet, NAME)
    assert not path_of(stage, of.uuid, "").exists()


@pytest.mark.parametrize("name", ["../meta", "a/b", ".x", "x" * 65, ""])
async def test_what_is_no_name_is_refused(stage: Stage, name: str) -> None:
    await create(stage.fleet, CreateRequest(name=NAME, start=False))
    if name:
        await refused(made(stage, name), problems.INVALID)
    wanted = SnapshotRestoreRequest(snapshot=name)
    await refused(snapshot.restore(stage.fleet, NAME, wanted), problems.INVALID)
    gone = SnapshotDeleteRequest(snapshot=name)
    await refused(snapshot.delete(stage.fleet, NAME, gone), problems.INVALID)


async def test_that_of_another_instance_is_refused(stage: Stage) -> None:
    one = await create(stage.fleet, CreateRequest(name=NAME, start=False))
    other = await create(stage.fleet, CreateRequest(name="web2", start=False))
    await made(stage)
    data = path_of(stage, one.uuid, "snapshots/one.tar").read_bytes()
    path_of(stage, other.uuid, "snapshots").mkdir(0o700)
    path_of(stage, other.uuid, "snapshots/one.tar").write_bytes(data)
    detail = await refused(snapshot.restore(stage.fleet, "web2", BACK), problems.BUNDLE_REFUSED)
    assert f"of instance {one.uuid}" in detail


@pytest.mark.parametrize("deep", [False, True])
async def test_it_opens_after_a_rekey_and_does_not_undo_it(stage: Stage, deep: bool) -> None:
    of = await create(stage.fleet, CreateRequest(name=NAME, start=False))
    await made(stage)
    await start(stage.fleet, NAME)
    await rekey(stage.fleet, NAME, RekeyRequest(deep=deep, provider="other"))
    await stop(stage.fleet, NAME, StopRequest(force=True))
    nvram = path_of(stage, of.uuid, "tpm/nvram")
    key = envelope_of(nvram).header.dek_id
    found = await snapshot.restore(stage.fleet, NAME, BACK)
    assert (found.state, found.provider) == ("running", "other")
    assert {slot.provider for slot in found.keys} == {"other"}
    assert envelope_of(nvram).header.dek_id == key


async def test_what_is_here_is_not_the_state_of_a_tpm_that_is_away(
    stage: Stage, qemu: Qemu
) -> None:
    await made(stage)
    await migrate(stage.fleet, NAME, DECLARE)
    assert await aside(read_state, qemu.control)
    await refused(made(stage, "two"), problems.HANDED_OVER)
    await stop(stage.fleet, NAME, StopRequest(force=True))
    assert (await snapshot.restore(stage.fleet, NAME, BACK)).handover == "away"
