"""List: all there are, in order, without asking files or workers."""

import os
import signal

import trio

from tests.operations.steps import wanted
from tests.supervisor.stage import Stage
from vtpmd.operations.create import create
from vtpmd.operations.delete import delete
from vtpmd.operations.info import info
from vtpmd.operations.list import list_


async def test_all_are_listed_by_name(stage: Stage) -> None:
    assert (await list_(stage.fleet)).instances == ()
    for name, start in (("web2", False), ("db1", True), ("web1", False)):
        await create(stage.fleet, wanted(name, start=start))
    listed = (await list_(stage.fleet)).instances
    assert [(each.name, each.state) for each in listed] == [
        ("db1", "running"),
        ("web1", "stopped"),
        ("web2", "stopped"),
    ]
    for each in listed:
        whole = await info(stage.fleet, each.name)
        assert (each.uuid, each.created, each.access) == (whole.uuid, whole.created, whole.access)
        assert (each.worker, each.keys) == (None, ())
    await delete(stage.fleet, "web1")
    assert [each.name for each in (await list_(stage.fleet)).instances] == ["db1", "web2"]


async def test_a_worker_that_does_not_react_is_not_waited_for(stage: Stage) -> None:
    made = await create(stage.fleet, wanted("web1"))
    assert made.worker is not None
    os.kill(made.worker.pid, signal.SIGSTOP)
    try:
        with trio.fail_after(1):
            assert [each.state for each in (await list_(stage.fleet)).instances] == ["running"]
    finally:
        os.kill(made.worker.pid, signal.SIGCONT)
