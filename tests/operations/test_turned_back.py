"""An older state that was put back, and what an administrator does before it is served again."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.operations.test_accept_rollback import (
    NAME,
    Staged,
    nvram_of,
    refusal,
    stage_of,
    turned_back,
    use,
)
from tests.operations.test_migrate import aside, used
from tests.state_files import envelope_of
from tests.supervisor.stage import Stage
from tests.worker.harness import control
from tests.worker.test_handover import LOCK_STORAGE, RETRIES, read_state
from vtpmd.api import problems
from vtpmd.api.schema import (
    CreateRequest,
    EkRenewRequest,
    MigrateRequest,
    RekeyRequest,
    SnapshotRequest,
    SnapshotRestoreRequest,
    StopRequest,
)
from vtpmd.operations import snapshot
from vtpmd.operations.accept_rollback import accept_rollback
from vtpmd.operations.create import create
from vtpmd.operations.ek_renew import ek_renew
from vtpmd.operations.migrate import migrate
from vtpmd.operations.rekey import rekey
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop
from vtpmd.operations.take_back import take_back
from vtpmd.storage.errors import StorageError
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.registry import Contents

__all__ = ["stage_of"]

Change = Callable[[Stage], Awaitable[object]]
CHANGES: dict[str, Change] = {
    "rekey": lambda stage: rekey(stage.fleet, NAME, RekeyRequest(deep=True)),
    "ek renew": lambda stage: ek_renew(stage.fleet, NAME, EkRenewRequest()),
    "take-back": lambda stage: take_back(stage.fleet, NAME),
}


async def lent_once(stage: Stage) -> Path:
    """A state file as it was one write ago: lent, what it is not any more."""
    nvram = nvram_of(stage, (await create(stage.fleet, CreateRequest(name=NAME, start=False))).uuid)
    older = nvram.with_name("older")
    machine = await aside(used, await start(stage.fleet, NAME))
    assert await aside(read_state, machine.control)
    await aside(shutil.copy, nvram, older)
    assert await aside(control, machine.control, LOCK_STORAGE, RETRIES) == bytes(4)
    await stop(stage.fleet, NAME, StopRequest(force=True))
    machine.close()
    await aside(shutil.copy, older, nvram)
    await aside(older.unlink)
    return nvram


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_no_change_makes_it_pass_for_the_newest(stage_of: Staged, change: Change) -> None:
    """Each stores a generation more, which is that of the newest state, or passes it."""
    stage = await stage_of("enforce")
    nvram = await lent_once(stage)
    before = await aside(nvram.read_bytes)
    refused = await refusal(change(stage))
    assert refused.problem is problems.STATE_REFUSED
    assert "vtpmctl accept-rollback" in refused.detail
    assert await aside(nvram.read_bytes) == before
    assert (await refusal(start(stage.fleet, NAME))).problem is problems.STATE_REFUSED
    await accept_rollback(stage.fleet, NAME)
    await change(stage)
    assert envelope_of(nvram).header.epoch == 1
    await start(stage.fleet, NAME)


async def test_under_warn_a_change_begins_a_new_line_and_it_is_told(stage_of: Staged) -> None:
    stage = await stage_of("warn")
    nvram = await lent_once(stage)
    assert "is older than the one of" in (await take_back(stage.fleet, NAME)).rollback
    assert envelope_of(nvram).header.epoch == 1


async def test_what_is_accepted_goes_on_after_the_newest_all_the_same(stage_of: Staged) -> None:
    """Also where it is noted before it has begun its new line."""
    stage = await stage_of("enforce")
    made, newest = await turned_back(stage)
    await accept_rollback(stage.fleet, NAME)
    (instance,) = stage.fleet
    await instance.note_newest()
    await use(stage)
    nvram_of(stage, made.uuid).write_bytes(newest)
    assert (await refusal(start(stage.fleet, NAME))).problem is problems.STATE_REFUSED


async def test_a_snapshot_that_was_restored_leaves_the_line_that_was(stage_of: Staged) -> None:
    stage = await stage_of("enforce")
    made = await create(stage.fleet, CreateRequest(name=NAME, start=False))
    await snapshot.create(stage.fleet, NAME, SnapshotRequest(label="s"))
    await use(stage)
    newest = nvram_of(stage, made.uuid).read_bytes()
    wanted = SnapshotRestoreRequest(snapshot="s", confirmed=True, start=False)
    await snapshot.restore(stage.fleet, NAME, wanted)
    await take_back(stage.fleet, NAME)
    await use(stage)
    nvram_of(stage, made.uuid).write_bytes(newest)
    assert (await refusal(start(stage.fleet, NAME))).problem is problems.STATE_REFUSED


async def test_a_full_disk_of_anchors_is_in_nobody_s_way(
    stage_of: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an older state may be served, it begins its new line and is told."""
    stage = await stage_of("warn")
    await turned_back(stage)

    def full(*_: object) -> None:
        raise StorageError("full", "cannot write the anchor: no space is left")

    monkeypatch.setattr("vtpmd.storage.anchor.write_file", full)
    served = await start(stage.fleet, NAME)
    assert served.worker is not None
    assert (served.state, served.worker.epoch) == ("running", 1)
    assert "is older than the one of" in served.reason


async def test_an_anchor_that_cannot_be_read_is_not_written_over_by_the_way(
    stage_of: Staged,
) -> None:
    """What is stored then is not judged, so it is not noted as the newest either."""
    stage = await stage_of("enforce")
    made, _ = await turned_back(stage)
    anchor = stage.directory / "state" / "anchors" / f"{made.uuid}.json"
    anchor.write_text("torn")
    (instance,) = stage.fleet
    await instance.note_newest()
    assert "the anchor is not one" in (await refusal(start(stage.fleet, NAME))).detail


async def test_who_is_away_again_is_so_from_then_on(stage_of: Staged) -> None:
    """Also where nobody saw that it was ours in between: a state of then does not come back."""
    stage = await stage_of("off")
    made = await create(stage.fleet, CreateRequest(name=NAME, start=False))
    (instance,) = stage.fleet
    await instance.note_hand_over("away", 1)
    between = envelope_of(nvram_of(stage, made.uuid)).header
    assert instance.metadata.remembered(between) == "ours"
    await instance.note_hand_over("away", between.generation + 1)
    assert instance.metadata.remembered(between) == "away"


async def test_a_restore_that_is_cut_short_does_not_undo_a_hand_over(
    stage_of: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of which only the state itself tells: it is replaced before the metadata is."""
    stage = await stage_of("warn")
    made = await create(stage.fleet, CreateRequest(name=NAME, start=False))
    await snapshot.create(stage.fleet, NAME, SnapshotRequest(label="s"))
    machine = await aside(used, await start(stage.fleet, NAME))
    assert await aside(read_state, machine.control)
    await stop(stage.fleet, NAME, StopRequest(force=True))
    machine.close()
    await migrate(stage.fleet, NAME, MigrateRequest(step="done"))
    (instance,) = stage.fleet
    await instance.note(handover="ours", handover_generation=0)  # nobody was there to note it
    fill, registry = stage.host.registry.fill, stage.host.registry

    def cut_short(directory: int, contents: Contents) -> None:
        fill(directory, contents)
        raise StorageError("failed", "the power is cut")

    def overwrite(metadata: Metadata, contents: Contents) -> None:
        monkeypatch.setattr(registry, "fill", cut_short)
        type(registry).overwrite(registry, metadata, contents)

    monkeypatch.setattr(registry, "overwrite", overwrite)
    wanted = SnapshotRestoreRequest(snapshot="s", confirmed=True, start=False)
    await refusal(snapshot.restore(stage.fleet, NAME, wanted))
    restored = envelope_of(nvram_of(stage, made.uuid)).header
    assert restored.handover == "ours"
    assert instance.metadata.remembered(restored) == "away"
