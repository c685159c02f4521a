"""The zygote: where it takes its modules from, what it reports, and what becomes of a lost one."""

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import trio

from tests.faults.limits import starved
from vtpmd.ipc import version
from vtpmd.ipc.version import Version
from vtpmd.supervisor import serving_lock
from vtpmd.supervisor.models import UnknownModelError, demand_known
from vtpmd.supervisor.zygote import SpawnError, WorkerProcess, Zygote

DEADLINE = 60.0


def _told_of_merging(process: int | str = "self") -> str:
    """What the kernel tells of the merging of a process's memory."""
    path = Path(f"/proc/{process}/ksm_stat")
    return path.read_text() if path.exists() else ""


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


def end(process: WorkerProcess) -> None:
    signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)
    assert select.select([process.pidfd], [], [], DEADLINE)[0]
    process.channel.close()
    os.close(process.pidfd)


async def test_it_reports_which_tpms_can_be_made(zygote: Zygote) -> None:
    models = await zygote.models()
    assert models.profiles == ("default-v1", "sha3-v1", "fips-v1", "pqc-v1")
    assert models.pcr_banks == ("sha1", "sha256", "sha384", "sha512")
    demand_known(models, "default-v1 without SHA1", ["sha384"])
    with pytest.raises(UnknownModelError, match="profile: the profiles are default-v1, sha3-v1"):
        demand_known(models, "default-v9", ["sha256"])
    with pytest.raises(UnknownModelError, match="pcr_banks: the PCR banks are sha1, sha256"):
        demand_known(models, "default-v1", ["sha256", "md5"])


async def test_one_that_is_lost_is_replaced_and_reports_again(zygote: Zygote) -> None:
    models, lost = await zygote.models(), zygote.pid
    os.kill(lost, signal.SIGKILL)
    end(await zygote.spawn(uuid4(), "web1"))
    assert zygote.pid != lost
    assert await zygote.models() == models


async def test_one_that_could_not_be_replaced_is_replaced_later(zygote: Zygote) -> None:
    """The host was short of descriptors just then."""
    lost = zygote.pid
    os.kill(lost, signal.SIGKILL)
    with starved():
        for _ in range(2):
            with pytest.raises(OSError, match="Too many open files"):
                await zygote.models()
    assert await zygote.exit_of(lost) == ""  # which nobody knows
    end(await zygote.spawn(uuid4(), "web1"))
    assert zygote.pid != lost


async def test_a_worker_that_is_to_serve_holds_the_lock(zygote: Zygote, tmp_path: Path) -> None:
    adoption = tmp_path / "web1"
    with serving_lock.created(adoption) as lock:
        holder = await zygote.spawn(uuid4(), "web1", lock)
    other = await zygote.spawn(uuid4(), "web1")
    with trio.fail_after(DEADLINE):
        while (found := serving_lock.holder(adoption)) is None:
            await trio.lowlevel.checkpoint()
    assert found == holder.pid
    end(other)
    assert serving_lock.holder(adoption) == holder.pid
    end(holder)
    assert serving_lock.holder(adoption) is None


async def test_one_of_a_version_that_is_not_understood_starts_no_worker(
    zygote: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an update of the package below a running daemon."""
    monkeypatch.setattr(version, "PROTOCOL", Version(3, 0))
    with pytest.raises(SpawnError, match=r"speaks version 1\.0 .* has to be restarted"):
        await zygote.spawn(uuid4(), "web1")


async def test_nothing_is_imported_from_where_the_daemon_was_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("vtpmd", "cbor2", "socket"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(tmp_path)
    zygote = Zygote()
    try:
        end(await zygote.spawn(uuid4(), "web1"))
    finally:
        zygote.close()


@pytest.mark.skipif(
    "ksm_merge_any" not in _told_of_merging(), reason="this kernel does not tell what it may merge"
)
@pytest.mark.parametrize("merged", [False, True])
async def test_the_memory_of_workers_is_merged_if_that_is_configured(merged: bool) -> None:
    zygote = Zygote(merge_memory=merged)
    worker = await zygote.spawn(uuid4(), "web1")
    told = f"ksm_merge_any: {'yes' if merged else 'no'}"
    for pid in (zygote.pid, worker.pid):
        assert told in _told_of_merging(pid)
    assert "ksm_merge_any: no" in _told_of_merging()
    end(worker)
    zygote.close()
