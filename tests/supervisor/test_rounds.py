"""What is done every few minutes for whoever is served, and at moments that matter."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from tests.operations.test_migrate import NAME, aside, qemu
from tests.state_files import envelope_of
from tests.supervisor.stage import DEADLINE, Stage
from tests.worker.harness import Qemu
from tests.worker.test_handover import read_state
from vtpmd.api.schema import StopRequest
from vtpmd.operations.info import info
from vtpmd.operations.stop import stop
from vtpmd.storage.mark import Mark
from vtpmd.supervisor import rounds
from vtpmd.supervisor.lease import LEASE

__all__ = ["qemu"]


async def noted(stage: Stage) -> None:
    """Wait until the newest state that is stored is noted as such."""
    uuid = (await info(stage.fleet, NAME)).uuid
    nvram = stage.directory / "state" / "instances" / str(uuid) / "tpm" / "nvram"
    with trio.fail_after(DEADLINE):
        while _known(stage) != envelope_of(nvram).header.mark:
            await trio.lowlevel.checkpoint()


def _known(stage: Stage) -> Mark | None:
    (instance,) = stage.fleet
    anchor = stage.host.anchors.known(instance.metadata.uuid)
    return None if anchor is None else anchor.newest


async def test_a_round_notes_what_was_stored_since_and_says_who_serves(
    stage: Stage, qemu: Qemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _known(stage)
    (instance,) = stage.fleet
    lease = Path(f"{stage.directory}/state/instances/{instance.metadata.uuid}/{LEASE}")
    await aside(lease.unlink)
    monkeypatch.setattr(rounds, "ROUND", 0.01)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rounds.go_round, stage.fleet)
        await noted(stage)
        with trio.fail_after(DEADLINE):
            while not await trio.to_thread.run_sync(lease.exists):
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert before != _known(stage)  # the machine has started its TPM since it is served


async def test_a_round_leaves_no_lease_of_what_was_stopped_meanwhile(
    stage: Stage, qemu: Qemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host could not serve it any more."""
    (instance,) = stage.fleet
    lease = Path(f"{stage.directory}/state/instances/{instance.metadata.uuid}/{LEASE}")
    turns = iter((stop(stage.fleet, NAME, StopRequest(force=True)),))

    async def sleep(_: float) -> None:
        if (turn := next(turns, None)) is None:
            round_over.set()
            await trio.sleep_forever()
        else:
            await turn

    round_over = trio.Event()
    monkeypatch.setattr(rounds, "trio", SimpleNamespace(sleep=sleep, to_thread=trio.to_thread))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rounds.go_round, stage.fleet)
        with trio.fail_after(DEADLINE):
            await round_over.wait()
        nursery.cancel_scope.cancel()
    assert not await trio.to_thread.run_sync(lease.exists)


async def test_what_is_handed_over_is_noted_at_once(stage: Stage, qemu: Qemu) -> None:
    assert await aside(read_state, qemu.control)
    await noted(stage)
