"""Info: an instance by name or UUID, with its key slots and what its worker says."""

import os
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.operations.steps import wanted
from tests.supervisor.stage import Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import StopRequest
from vtpmd.operations.create import create
from vtpmd.operations.info import info
from vtpmd.operations.stop import stop


async def test_name_and_uuid_find_the_same(stage: Stage) -> None:
    made = await create(stage.fleet, wanted("web1"))
    await create(stage.fleet, wanted("web2", start=False))
    for name in ("web1", str(made.uuid), str(made.uuid).upper(), made.uuid.hex):
        found = await info(stage.fleet, name)
        assert (found.name, found.uuid, found.state) == ("web1", made.uuid, "running")
    for name in ("web3", str(uuid4()), "WEB1"):
        with pytest.raises(OperationError) as refused:
            await info(stage.fleet, name)
        assert refused.value.problem is problems.NOT_FOUND


async def test_it_tells_of_the_key_and_of_the_worker(stage: Stage) -> None:
    stage.provider.version = 7
    await create(stage.fleet, replace(wanted("web1"), data_socket=True))
    found = await info(stage.fleet, "web1")
    (key,) = found.keys
    assert (key.provider, key.type, key.key_version, key.purpose) == (
        "main",
        "test",
        "7",
        "primary",
    )
    assert found.worker is not None
    os.kill(found.worker.pid, 0)  # there is such a process
    assert found.worker.tpm == "on"
    await stop(stage.fleet, "web1", StopRequest())
    stopped = await info(stage.fleet, "web1")
    assert (stopped.state, stopped.worker, stopped.keys) == ("stopped", None, found.keys)


async def test_what_cannot_be_read_is_told_of_all_the_same(stage: Stage) -> None:
    made = await create(stage.fleet, wanted("web1", start=False))
    (stage.directory / "state" / "instances" / str(made.uuid) / "tpm/nvram").write_bytes(b"?")
    found = await info(stage.fleet, "web1")
    assert (found.name, found.keys) == ("web1", ())
