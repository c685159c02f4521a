"""State that was turned back by somebody else: told or refused, and gone on with when accepted."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest
import trio

from tests.operations.test_migrate import aside, used
from tests.state_files import PLACES, current_place, overwrite
from tests.supervisor.harness import running
from tests.supervisor.stage import Stage, staged
from tests.worker.harness import STARTUP_CLEAR, SUCCESS, Qemu, tpm
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, InstanceInfo, StopRequest
from vtpmd.operations.accept_rollback import accept_rollback
from vtpmd.operations.create import create
from vtpmd.operations.delete import delete
from vtpmd.operations.info import info
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop

NAME = "web1"
Staged = Callable[[str], Awaitable[Stage]]


@pytest.fixture
async def stage_of(nursery: trio.Nursery) -> AsyncIterator[Staged]:
    """A host with a policy, made when it is asked for."""
    policies = []

    async def make(policy: str) -> Stage:
        policies.append(staged(nursery, rollback=policy))
        return await policies[-1].__aenter__()

    yield make
    for each in policies:
        await each.__aexit__(None, None, None)


def nvram_of(stage: Stage, uuid: UUID) -> Path:
    return stage.directory / "state" / "instances" / str(uuid) / "tpm" / "nvram"


async def use(stage: Stage) -> None:
    """Serve it to a machine that stores something, and stop it."""
    machine = await aside(used, await start(stage.fleet, NAME))
    machine.close()
    await stop(stage.fleet, NAME, StopRequest(force=True))


async def turned_back(stage: Stage) -> tuple[InstanceInfo, bytes]:
    """An instance whose state file is an older one now, and what it was before that."""
    made = await create(stage.fleet, CreateRequest(name=NAME, start=False))
    nvram = nvram_of(stage, made.uuid)
    await use(stage)
    older = nvram.read_bytes()
    await use(stage)
    newest = nvram.read_bytes()
    nvram.write_bytes(older)
    return made, newest


async def refusal(act: Awaitable[object]) -> OperationError:
    with pytest.raises(OperationError) as caught:
        await act
    return caught.value


async def test_under_enforce_it_fails_until_it_is_accepted(stage_of: Staged) -> None:
    stage = await stage_of("enforce")
    await turned_back(stage)
    known = (await info(stage.fleet, NAME)).newest
    refused = await refusal(start(stage.fleet, NAME))
    assert refused.problem is problems.STATE_REFUSED
    assert "is older than the one of" in refused.detail
    assert "vtpmctl accept-rollback" in refused.detail
    found = await info(stage.fleet, NAME)
    assert (found.state, found.newest) == ("failed", known)
    await refusal(start(stage.fleet, NAME))
    await accept_rollback(stage.fleet, NAME)
    served = await start(stage.fleet, NAME)
    assert served.worker is not None
    assert (served.state, served.worker.epoch, served.rollback) == ("running", 1, "")
    await stop(stage.fleet, NAME, StopRequest(force=True))
    found = await info(stage.fleet, NAME)
    assert found.newest is not None
    assert found.newest.epoch == 1
    await use(stage)


async def test_what_was_accepted_is_that_state_and_no_other(stage_of: Staged) -> None:
    stage = await stage_of("enforce")
    made = await create(stage.fleet, CreateRequest(name=NAME, start=False))
    nvram, states = nvram_of(stage, made.uuid), []
    for _ in range(3):
        await use(stage)
        states.append(nvram.read_bytes())
    nvram.write_bytes(states[1])
    await accept_rollback(stage.fleet, NAME)
    nvram.write_bytes(states[0])
    assert (await refusal(start(stage.fleet, NAME))).problem is problems.STATE_REFUSED
    nvram.write_bytes(states[1])
    await start(stage.fleet, NAME)
    await stop(stage.fleet, NAME, StopRequest(force=True))
    nvram.write_bytes(states[2])  # newest of the line that was left
    assert (await refusal(start(stage.fleet, NAME))).problem is problems.STATE_REFUSED


async def test_under_warn_it_goes_on_in_a_new_epoch_and_is_told(stage_of: Staged) -> None:
    stage = await stage_of("warn")
    made, newest = await turned_back(stage)
    served = await start(stage.fleet, NAME)
    assert served.worker is not None
    assert (served.state, served.worker.epoch) == ("running", 1)
    assert "is older than the one of" in served.rollback
    await stop(stage.fleet, NAME, StopRequest(force=True))
    await use(stage)
    assert (await info(stage.fleet, NAME)).rollback == served.rollback
    await start(stage.fleet, NAME)
    assert (await accept_rollback(stage.fleet, NAME)).rollback == ""
    await stop(stage.fleet, NAME, StopRequest(force=True))
    nvram_of(stage, made.uuid).write_bytes(newest)  # of the line that was left
    assert "or of another line" in (await start(stage.fleet, NAME)).rollback


async def test_when_off_it_goes_on_without_a_word(stage_of: Staged) -> None:
    stage = await stage_of("off")
    await turned_back(stage)
    served = await start(stage.fleet, NAME)
    assert (served.state, served.rollback) == ("running", "")


async def test_damage_that_no_interrupted_write_explains(stage_of: Staged) -> None:
    """One place has what the other had; an interrupted write leaves none that is whole."""
    for policy in ("enforce", "warn"):
        stage = await stage_of(policy)
        made = await create(stage.fleet, CreateRequest(name=NAME, start=False))
        await use(stage)
        nvram = nvram_of(stage, made.uuid)
        newest = current_place(nvram)
        content = nvram.read_bytes()
        overwrite(nvram, content[newest:][: PLACES[1]], PLACES[1] - newest)
        if policy == "enforce":
            refused = await refusal(start(stage.fleet, NAME))
            assert "the state file is damaged: one place holds a record" in refused.detail
            await accept_rollback(stage.fleet, NAME)
        served = await start(stage.fleet, NAME)
        assert bool(served.rollback) is (policy == "warn")
        await stop(stage.fleet, NAME, StopRequest(force=True))
        await delete(stage.fleet, NAME)


async def test_a_new_tpm_is_not_compared_with_one_that_had_its_uuid(stage_of: Staged) -> None:
    stage = await stage_of("enforce")
    made = await create(stage.fleet, CreateRequest(name=NAME, start=False))
    await use(stage)
    anchor = stage.directory / "state" / "anchors" / f"{made.uuid}.json"
    left = anchor.read_bytes()
    await delete(stage.fleet, NAME)
    anchor.write_bytes(left)
    await create(stage.fleet, CreateRequest(name=NAME, uuid=made.uuid))
    assert "older" not in (await info(stage.fleet, NAME)).reason


async def test_a_deleted_instance_leaves_no_anchor(stage_of: Staged) -> None:
    stage = await stage_of("enforce")
    made, _ = await turned_back(stage)
    anchors = stage.directory / "state" / "anchors"
    assert [each.name for each in anchors.iterdir()] == [f"{made.uuid}.json"]
    await delete(stage.fleet, NAME)
    assert not list(anchors.iterdir())


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '{"format": 2}', '{"format": 1, "newest": 3}']
)
async def test_an_anchor_that_cannot_be_read(stage_of: Staged, content: str) -> None:
    """It says nothing of the state; that it can't be read may be somebody's work."""
    stage = await stage_of("enforce")
    made, newest = await turned_back(stage)
    nvram_of(stage, made.uuid).write_bytes(newest)
    (stage.directory / "state" / "anchors" / f"{made.uuid}.json").write_text(content)
    assert "the anchor is not one" in (await refusal(start(stage.fleet, NAME))).detail
    await accept_rollback(stage.fleet, NAME)
    assert (await start(stage.fleet, NAME)).state == "running"


def test_the_anchor_on_another_disk_sees_the_whole_directory_put_back(root: Path) -> None:
    elsewhere = root / "elsewhere"
    more = f"rollback: enforce\nanchor_dir: {elsewhere}\n"
    with running(root, more) as daemon:
        made = daemon.control("create", NAME)
        daemon.control("stop", NAME)
        nvram = daemon.state / "instances" / made["uuid"] / "tpm" / "nvram"
        older = nvram.read_bytes()
        daemon.control("start", NAME)
        with Qemu(Path(made["control_socket"])) as machine:
            machine.start()
            assert tpm(machine.data, STARTUP_CLEAR).hex() == SUCCESS
        daemon.control("stop", NAME)
        (anchor,) = elsewhere.iterdir()
        assert json.loads(anchor.read_text())["newest"]["generation"] > 2
        nvram.write_bytes(older)
        assert daemon.ctl("start", NAME).returncode == 9
        daemon.restart()
        result = daemon.ctl("info", NAME)
        assert "accept-rollback" in result.stdout
        assert daemon.ctl("accept-rollback", NAME).returncode == 11
        assert "may be started now" in daemon.ctl("accept-rollback", NAME, "--yes").stdout
        assert daemon.control("start", NAME)["worker"]["epoch"] == 1
