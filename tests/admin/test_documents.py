"""Reports on their way out: what is written, and whom a long one keeps waiting."""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
import trio

from tests.api.samples import REPORTS, filled
from tests.supervisor.test_metadata import SAMPLE
from vtpmd.admin import documents
from vtpmd.admin.conversation import Request
from vtpmd.admin.routes import Routes
from vtpmd.api import schema
from vtpmd.api.codec import encode_report
from vtpmd.config.schema import Configuration
from vtpmd.linux.peers import Peer
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.registry import Entry
from vtpmd.telemetry.audit import Audit

_MANY = 1000
_LONGEST_PAUSE = 0.02  # seconds of CPU; 2 ms on an idle machine, where the whole list takes 40
_LIST = Request("GET", "/v1/instances", b"", Peer(1, os.geteuid(), frozenset()))


def lists(directory: Path, count: int) -> Routes:
    """The routes of a host with so many instances, none of them served."""
    configuration = Configuration.model_validate(
        {"state_dir": str(directory / "state"), "runtime_dir": "/run/x"}
    )
    nothing = cast("Any", None)
    fleet = Fleet(Host(configuration, nothing, nothing, nothing, nothing, nothing, nothing))
    for number in range(count):
        uuid = uuid4()
        fleet.add(Entry(replace(SAMPLE, name=f"web{number}", uuid=uuid, identity=uuid)))
    return Routes(fleet, Audit(directory / "audit"))


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.__name__)
async def test_a_report_is_written_as_its_document(report: type[schema.Report]) -> None:
    value, document = filled(report)
    written = await documents.write(value)
    assert json.loads(written) == document
    assert written == json.dumps(encode_report(value)).encode() + b"\n"


@pytest.mark.parametrize("count", [0, 1, documents.SLICE, documents.SLICE + 1])
async def test_a_list_of_any_length_is_whole(count: int) -> None:
    value = schema.InstanceList(instances=(filled(schema.InstanceInfo)[0],) * count)
    assert await documents.write(value) == json.dumps(encode_report(value)).encode() + b"\n"


async def test_who_lists_a_thousand_instances_keeps_nobody_waiting(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    routes = lists(tmp_path, _MANY)
    pauses: list[float] = []

    async def tick() -> None:
        while True:
            began = time.thread_time()
            await trio.lowlevel.checkpoint()
            pauses.append(time.thread_time() - began)

    nursery.start_soon(tick)
    await trio.lowlevel.checkpoint()
    response = await routes(_LIST)
    nursery.cancel_scope.cancel()
    assert isinstance(response.content, bytes)
    assert len(json.loads(response.content)["instances"]) == _MANY
    assert len(pauses) > 50  # turns of somebody else
    assert max(pauses) < _LONGEST_PAUSE


async def test_a_list_takes_the_same_work_for_each_of_many_instances(tmp_path: Path) -> None:
    few, many = [await _calls(lists(tmp_path, count)) for count in (_MANY // 10, _MANY)]
    assert many < 11 * few


async def _calls(routes: Routes) -> int:
    """How many functions are called for a list."""
    await routes(_LIST)  # what is worked out once
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        await routes(_LIST)
    finally:
        sys.setprofile(None)
    return calls
