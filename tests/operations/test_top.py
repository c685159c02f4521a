"""Top: how much each instance is used, as its workers have counted."""

from tests.supervisor.harness import execute
from tests.supervisor.stage import Stage, until
from vtpmd.api.schema import CreateRequest, InstanceUsage, StopRequest
from vtpmd.operations.create import create
from vtpmd.operations.stop import stop
from vtpmd.operations.top import top

GET_RANDOM = bytes.fromhex("80010000000c0000017b0010")
TOO_SHORT = bytes.fromhex("80010000000b0000017b00")


async def test_what_was_answered_is_counted(stage: Stage) -> None:
    made = await create(stage.fleet, CreateRequest(name="web1", data_socket=True))
    await create(stage.fleet, CreateRequest(name="web2", start=False))

    async def used() -> InstanceUsage:
        first, second = (await top(stage.fleet)).instances
        assert (second.name, second.state, second.commands, second.memory) == (
            *("web2", "stopped"),
            *(0, 0),
        )
        return first

    before = await used()
    for command in (GET_RANDOM, GET_RANDOM, TOO_SHORT):
        execute({"data_socket": made.data_socket}, command)
    while (now := await used()).commands < before.commands + 3:
        await until(lambda: True)
    assert (now.uuid, now.state, now.asleep) == (made.uuid, "running", False)
    assert now.refused >= before.refused + 1
    assert now.busy > before.busy
    assert now.memory > 1 << 20
    await stop(stage.fleet, "web1", StopRequest())
    ended = await used()
    assert (ended.commands, ended.memory) == (now.commands, 0)


async def test_time_goes_on(stage: Stage) -> None:
    first = (await top(stage.fleet)).clock
    assert (await top(stage.fleet)).clock >= first
