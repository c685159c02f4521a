"""DA reset: a TPM in lockout answers again, whether it is served, sleeps or is only stored."""

import struct

import pytest
import trio

from tests.operations.test_migrate import DECLARE, aside, listed, used
from tests.supervisor.harness import execute
from tests.supervisor.stage import DEADLINE, Stage, staged, until
from tests.worker.test_handover import read_state
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, InstanceInfo, StopRequest
from vtpmd.operations.create import create
from vtpmd.operations.da_reset import da_reset
from vtpmd.operations.doctor import doctor
from vtpmd.operations.info import info
from vtpmd.operations.metrics import metrics
from vtpmd.operations.migrate import migrate
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop

OWNER, LOCKOUT, INDEX = 0x40000001, 0x4000000A, 0x01500000
AUTH_READ_WRITE, SHA256 = 0x00040004, 0x000B
DEFINE, READ, LOCK_RESET, CHANGE_AUTH = 0x12A, 0x14E, 0x139, 0x129
AUTH_FAIL, IN_LOCKOUT, NOT_WRITTEN = 0x98E, 0x921, 0x14A
MAX_TRIES = 3
NAME = "web1"


def answer(made: InstanceInfo, code: int, handles: list[int], auth: bytes, more: bytes) -> int:
    """The response code to a command that is authorized by a password."""
    area = struct.pack(">IHBH", 0x40000009, 0, 0, len(auth)) + auth
    body = struct.pack(f">{len(handles)}I", *handles) + struct.pack(">I", len(area)) + area + more
    command = struct.pack(">HII", 0x8002, 10 + len(body), code) + body
    return execute({"data_socket": made.data_socket}, command)[0]


def read(made: InstanceInfo, auth: bytes) -> int:
    return answer(made, READ, [INDEX, INDEX], auth, struct.pack(">HH", 1, 0))


def lock(made: InstanceInfo) -> None:
    """Bring it into lockout, by its lockoutAuth also."""
    public = struct.pack(">IHIHH", INDEX, SHA256, AUTH_READ_WRITE, 0, 8)
    secret = struct.pack(">H6s", 6, b"secret")
    define = secret + struct.pack(">H", len(public)) + public
    assert answer(made, DEFINE, [OWNER], b"", define) == 0
    assert answer(made, CHANGE_AUTH, [LOCKOUT], b"", secret) == 0
    for _ in range(MAX_TRIES):
        assert read(made, b"guess") == AUTH_FAIL
    assert read(made, b"secret") == IN_LOCKOUT
    assert answer(made, LOCK_RESET, [LOCKOUT], b"guess", b"") == AUTH_FAIL
    assert answer(made, LOCK_RESET, [LOCKOUT], b"secret", b"") == IN_LOCKOUT


def assert_open(made: InstanceInfo) -> None:
    assert read(made, b"secret") == NOT_WRITTEN
    assert answer(made, LOCK_RESET, [LOCKOUT], b"secret", b"") == 0


async def locked(stage: Stage) -> InstanceInfo:
    made = await create(stage.fleet, CreateRequest(name=NAME, data_socket=True))
    await aside(lock, made)
    return made


async def test_one_that_is_served_answers_again_and_that_is_durable(stage: Stage) -> None:
    made = await locked(stage)
    worker = (await info(stage.fleet, NAME)).worker
    assert worker is not None
    assert (worker.failed_tries, worker.lockout) == (MAX_TRIES, True)
    assert "vtpmd_instances_in_lockout 1.0" in (await metrics(stage.fleet)).decode()
    told = [each for each in (await doctor(stage.fleet)).findings if each.check == "lockouts"]
    assert [each.verdict for each in told] == ["warning"]
    assert "vtpmctl da-reset web1" in told[0].remedy
    done = await da_reset(stage.fleet, str(made.uuid))
    assert (done.name, done.failed_tries, done.lockout, done.remains) == (NAME, 3, True, False)
    found = (await info(stage.fleet, NAME)).worker
    assert found is not None
    assert found.generation == worker.generation + 1
    assert (found.failed_tries, found.lockout) == (0, False)
    assert "vtpmd_instances_in_lockout 0.0" in (await metrics(stage.fleet)).decode()
    await aside(assert_open, made)
    again = await da_reset(stage.fleet, NAME)
    assert (again.failed_tries, again.lockout) == (0, False)


async def test_what_is_acknowledged_survives_the_worker(stage: Stage) -> None:
    made = await locked(stage)
    await da_reset(stage.fleet, NAME)
    await stop(stage.fleet, NAME, StopRequest(force=True))
    await start(stage.fleet, NAME)
    await aside(assert_open, made)


async def test_one_that_is_stopped_is_reset_in_its_file(stage: Stage) -> None:
    made = await locked(stage)
    await stop(stage.fleet, NAME, StopRequest(force=True))
    done = await da_reset(stage.fleet, NAME)
    assert (done.failed_tries, done.lockout, done.remains) == (3, True, False)
    assert (await da_reset(stage.fleet, NAME)).failed_tries == 0
    await start(stage.fleet, NAME)
    await aside(assert_open, made)


async def test_one_that_sleeps_is_woken(nursery: trio.Nursery) -> None:
    async with staged(nursery, idle_timeout=0.05) as stage:
        made = await locked(stage)
        with trio.fail_after(DEADLINE):
            await until(lambda: stage.fleet.find(NAME).asleep)
        assert (await da_reset(stage.fleet, NAME)).lockout
        await aside(assert_open, made)


@pytest.mark.parametrize("served", [True, False])
async def test_what_went_to_another_host_stays_as_it_is(stage: Stage, served: bool) -> None:
    made = await create(stage.fleet, CreateRequest(name=NAME))
    qemu = await aside(used, made)
    await migrate(stage.fleet, NAME, DECLARE)
    assert await aside(read_state, qemu.control)
    await listed(stage, "away")
    if not served:
        await stop(stage.fleet, NAME, StopRequest(force=True))
    with pytest.raises(OperationError) as refused:
        await da_reset(stage.fleet, NAME)
    assert refused.value.problem is problems.HANDED_OVER
    qemu.close()


async def test_without_its_key_nothing_is_reset(stage: Stage) -> None:
    await locked(stage)
    await stop(stage.fleet, NAME, StopRequest(force=True))
    stage.provider.forget()
    with pytest.raises(OperationError) as refused:
        await da_reset(stage.fleet, NAME)
    assert refused.value.problem is problems.KEY_UNAVAILABLE
    with pytest.raises(OperationError) as refused:
        await da_reset(stage.fleet, "nobody")
    assert refused.value.problem is problems.NOT_FOUND
