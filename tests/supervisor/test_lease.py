"""Hosts that share a state directory: what one serves, the other does not touch."""

import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.supervisor.stage import Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import (
    CreateRequest,
    IncomingRequest,
    InstanceInfo,
    RekeyRequest,
    StopRequest,
)
from vtpmd.operations.create import create
from vtpmd.operations.delete import delete
from vtpmd.operations.incoming import create_incoming
from vtpmd.operations.info import info
from vtpmd.operations.rekey import rekey
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop
from vtpmd.operations.take_back import take_back
from vtpmd.supervisor import lease
from vtpmd.supervisor.lease import LEASE, Lease, ServedElsewhereError, ours
from vtpmd.supervisor.registry import Registry

NAME = "web1"
ELSEWHERE = Lease("host\x1b7", "0" * 32, "11111111-2222-3333-4444-555555555555")


def file_of(stage: Stage, made: InstanceInfo) -> Path:
    return stage.directory / "state" / "instances" / str(made.uuid) / LEASE


@pytest.fixture
async def made(stage: Stage) -> InstanceInfo:
    return await create(stage.fleet, CreateRequest(name=NAME, start=False))


async def refused(act: Awaitable[object]) -> str:
    with pytest.raises(OperationError) as caught:
        await act
    assert caught.value.problem is problems.RUNNING_CONFLICT
    return caught.value.detail


async def test_a_slow_disk_holds_up_nobody_else(
    stage: Stage, made: InstanceInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is done with the lease is done aside from the event loop."""
    threads = set[threading.Thread]()
    for name in ("renew", "demand_free", "give_up"):
        monkeypatch.setattr(lease, name, _noted(getattr(lease, name), threads))
    await start(stage.fleet, NAME)
    await stop(stage.fleet, NAME, StopRequest())
    assert threads
    assert threading.current_thread() not in threads


def _noted(function: Callable[..., None], threads: set[threading.Thread]) -> Callable[..., None]:
    def noting(registry: Registry, uuid: UUID) -> None:
        threads.add(threading.current_thread())
        function(registry, uuid)

    return noting


async def test_what_another_host_serves_is_left_to_it(stage: Stage, made: InstanceInfo) -> None:
    file = file_of(stage, made)
    file.write_bytes(ELSEWHERE.encode())
    nvram = file.with_name("tpm") / "nvram"
    before = nvram.read_bytes()
    detail = await refused(start(stage.fleet, NAME))
    assert "host host\\x1b7 serves it, or did so last" in detail
    assert "vtpmctl take-back" in detail
    assert (await info(stage.fleet, NAME)).state == "failed"
    await refused(rekey(stage.fleet, NAME, RekeyRequest(deep=True)))
    await refused(delete(stage.fleet, NAME))
    assert (nvram.read_bytes(), file.read_bytes()) == (before, ELSEWHERE.encode())
    assert (await stop(stage.fleet, NAME, StopRequest())).state == "stopped"
    await take_back(stage.fleet, NAME)
    assert (await start(stage.fleet, NAME)).state == "running"


async def test_a_host_that_was_faster_is_left_what_it_serves(
    stage: Stage, made: InstanceInfo
) -> None:
    """Both have seen that it was free."""
    file = file_of(stage, made)
    file.write_bytes(ELSEWHERE.encode())
    with pytest.raises(ServedElsewhereError):
        async with lease.taken(stage.host.registry, made.uuid):
            pass
    assert file.read_bytes() == ELSEWHERE.encode()


@pytest.mark.parametrize("damaged", [False, True])
async def test_what_has_no_tpm_yet_or_no_metadata_is_taken_over_as_well(
    stage: Stage, damaged: bool
) -> None:
    """It could be neither waited for nor deleted."""
    awaited = await create_incoming(
        stage.fleet, IncomingRequest(name=NAME, uuid=uuid4(), start=False), b""
    )
    file = file_of(stage, awaited)
    file.write_bytes(ELSEWHERE.encode())
    await refused(delete(stage.fleet, NAME))
    if damaged:
        (instance,) = stage.fleet
        instance.fault = "meta.json is not JSON"
    else:
        await refused(start(stage.fleet, NAME))
    await take_back(stage.fleet, NAME)
    assert not file.exists()
    await delete(stage.fleet, NAME)


async def test_a_lease_is_there_while_a_worker_is(stage: Stage, made: InstanceInfo) -> None:
    file = file_of(stage, made)
    await start(stage.fleet, NAME)
    found = Lease.decode(file.read_bytes())
    assert found is not None
    assert (found.host, found.boot) == (ours().host, ours().boot)
    await stop(stage.fleet, NAME, StopRequest())
    assert not file.exists()


async def test_a_start_that_fails_leaves_none(stage: Stage, made: InstanceInfo) -> None:
    file = file_of(stage, made)
    nvram = file.with_name("tpm") / "nvram"
    nvram.with_name("volatile").unlink()
    with pytest.raises(OperationError):
        await start(stage.fleet, NAME)
    assert not file.exists()


async def test_a_host_that_was_booted_since_has_no_worker(stage: Stage, made: InstanceInfo) -> None:
    file_of(stage, made).write_bytes(replace(ours(), boot=ELSEWHERE.boot).encode())
    assert (await start(stage.fleet, NAME)).state == "running"


SAYS_NO_TIME = {**json.loads(ELSEWHERE.encode()), "renewed": "0001-01-01T00:00:00+01:00"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"format": 1}',
        b'{"format": true}',
        b"\xff",
        json.dumps(SAYS_NO_TIME).encode(),
    ],
)
async def test_what_says_nothing_is_passed_over(
    stage: Stage, made: InstanceInfo, content: bytes
) -> None:
    file_of(stage, made).write_bytes(content)
    assert (await start(stage.fleet, NAME)).state == "running"


async def test_one_of_a_newer_vtpmd_is_not_passed_over(stage: Stage, made: InstanceInfo) -> None:
    """Its host may be the one that serves."""
    file_of(stage, made).write_bytes(b'{"format": 2}')
    with pytest.raises(OperationError) as caught:
        await start(stage.fleet, NAME)
    assert caught.value.problem is problems.STATE_REFUSED
    assert "written by a newer vtpmd" in caught.value.detail
    await take_back(stage.fleet, NAME)
    assert (await start(stage.fleet, NAME)).state == "running"


async def test_a_host_is_known_by_the_name_it_has_now(
    stage: Stage, made: InstanceInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that gets another name and is booted soon finds its own lease."""
    await start(stage.fleet, NAME)
    monkeypatch.setattr("socket.gethostname", lambda: "renamed")
    lease.renew(stage.host.registry, made.uuid)
    found = Lease.decode(file_of(stage, made).read_bytes())
    assert found is not None
    assert found.host == "renamed"


async def test_a_lease_that_was_taken_over_stays_so(stage: Stage, made: InstanceInfo) -> None:
    """This host serves on, says so in its log, and does not fight for the file."""
    await start(stage.fleet, NAME)
    file = file_of(stage, made)
    file.write_bytes(ELSEWHERE.encode())
    lease.renew(stage.host.registry, made.uuid)
    await stop(stage.fleet, NAME, StopRequest())
    assert json.loads(file.read_text())["boot"] == ELSEWHERE.boot
