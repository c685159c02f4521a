"""Another name for an instance, and its sockets with it."""

import os
from pathlib import Path

import pytest

from tests.supervisor.stage import Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, RenameRequest, StopRequest
from vtpmd.operations.create import create
from vtpmd.operations.list import list_
from vtpmd.operations.rename import rename
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop


async def test_a_new_name_is_there_for_everybody(stage: Stage) -> None:
    made = await create(stage.fleet, CreateRequest(name="web1"))
    await stop(stage.fleet, "web1", StopRequest())
    renamed = await rename(stage.fleet, "web1", RenameRequest(name="db1"))
    assert (renamed.name, renamed.uuid) == ("db1", made.uuid)
    assert [each.name for each in (await list_(stage.fleet)).instances] == ["db1"]
    with pytest.raises(OperationError) as refused:
        stage.fleet.find("web1")
    assert refused.value.problem is problems.NOT_FOUND
    started = await start(stage.fleet, "db1")
    assert Path(started.control_socket).name == "db1.sock.ctrl"
    assert os.access(started.control_socket, os.F_OK)
    assert not os.access(made.control_socket, os.F_OK)
    (entry,) = stage.host.registry.load()
    assert entry.metadata.name == "db1"
    assert (await create(stage.fleet, CreateRequest(name="web1", start=False))).name == "web1"


async def test_what_is_served_keeps_its_name(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1"))
    with pytest.raises(OperationError) as refused:
        await rename(stage.fleet, "web1", RenameRequest(name="db1"))
    assert refused.value.problem is problems.RUNNING_CONFLICT
    assert stage.fleet.find("web1").metadata.name == "web1"
    assert (await create(stage.fleet, CreateRequest(name="db1", start=False))).name == "db1"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("web2", problems.EXISTS),
        ("../x", problems.INVALID),
        ("admin", problems.INVALID),
        ("7d1f2b30-8f2e-4a55-9a7c-0123456789ab", problems.INVALID),
    ],
)
async def test_a_name_that_it_cannot_have(
    stage: Stage, name: str, problem: problems.Problem
) -> None:
    for each in ("web1", "web2"):
        await create(stage.fleet, CreateRequest(name=each, start=False))
    with pytest.raises(OperationError) as refused:
        await rename(stage.fleet, "web1", RenameRequest(name=name))
    assert refused.value.problem is problem
    assert stage.fleet.find("web1").metadata.name == "web1"
    assert (await rename(stage.fleet, "web1", RenameRequest(name="web1"))).name == "web1"
