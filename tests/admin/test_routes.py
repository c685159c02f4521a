"""From a request to its operation and back: statuses, locations, and what the audit names."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.conftest import stage
from tests.supervisor.stage import Stage
from vtpmd.admin.conversation import Request, Response
from vtpmd.admin.routes import CREATING, HANDLERS, Routes
from vtpmd.api import names, problems
from vtpmd.api.problems import OperationError
from vtpmd.linux.peers import Peer
from vtpmd.telemetry.audit import Audit

__all__ = ["stage"]

US = Peer(1, os.geteuid(), frozenset())


class Admin:
    """Requests to the routes of a stage; `audit` is the file they are recorded in."""

    def __init__(self, stage: Stage) -> None:
        self.audit = stage.directory / "requests"
        self._routes = Routes(stage.fleet, Audit(self.audit))

    async def ask(self, method: str, path: str, body: bytes | dict[str, Any] = b"") -> Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self._routes(Request(method, f"/v1{path}", content, US))

    async def refused(self, *request: Any) -> problems.Problem:
        with pytest.raises(OperationError) as caught:
            await self.ask(*request)
        return caught.value.problem

    def last(self) -> tuple[str, str, str]:
        """Verb, subject and outcome of the request recorded last."""
        line = json.loads(Path(self.audit).read_text().splitlines()[-1])
        return line["verb"], line["subject"], line["outcome"]


def test_every_route_is_handled() -> None:
    declared = {each for each in vars(names).values() if isinstance(each, names.Route)}
    assert set(HANDLERS) == declared
    assert declared >= CREATING


async def test_new_instances_have_a_location(stage: Stage) -> None:
    admin = Admin(stage)
    made = await admin.ask("POST", "/instances", {"name": "a", "start": False})
    assert admin.last() == ("create", "a", "done")
    copy = await admin.ask("POST", "/instances/a/clone", {"name": "b", "start": False})
    assert admin.last() == ("clone", "a", "done")
    bundle = await admin.ask("GET", "/instances/b/backup")
    assert (bundle.status, bundle.media_type) == (200, names.BUNDLE_MEDIA_TYPE)
    assert isinstance(bundle.content, bytes)
    await admin.ask("DELETE", "/instances/b")
    restored = await admin.ask("POST", "/restore?name=c", bundle.content)
    assert admin.last() == ("restore", "c", "done")
    for response in (made, copy, restored):
        info: Any = response.content
        assert response.status == 201
        assert response.headers == {"Location": f"/v1/instances/{info['uuid']}"}
    await admin.ask("DELETE", "/instances/c")
    await admin.ask("POST", "/restore", bundle.content)
    assert admin.last() == ("restore", "b", "done")
    found = await admin.ask("GET", "/instances/%62")
    assert (found.status, found.headers) == (200, {})
    assert admin.last() == ("info", "b", "done")


async def test_what_is_refused_is_recorded_under_the_name_it_is_about(stage: Stage) -> None:
    admin = Admin(stage)
    assert await admin.refused("POST", "/instances", {"name": "../x"}) is problems.INVALID
    assert admin.last() == ("create", "../x", "invalid")
    assert await admin.refused("POST", "/instances", {"name": "a", "x": 1}) is problems.INVALID
    assert admin.last() == ("create", "", "invalid")
    assert await admin.refused("POST", "/restore?name=c", b"x") is problems.BUNDLE_REFUSED
    assert admin.last() == ("restore", "c", "bundle-refused")
    assert await admin.refused("POST", "/restore?x=c", b"x") is problems.INVALID
    assert await admin.refused("POST", "/providers/main/rotate") is problems.UNAVAILABLE
    assert admin.last() == ("provider rotate", "main", "unavailable")
    assert await admin.refused("GET", "/nothing") is problems.NO_ROUTE
    assert await admin.refused("PUT", "/instances") is problems.NO_METHOD
    assert admin.last() == ("provider rotate", "main", "unavailable")
    assert (await admin.ask("POST", "/unlock")).content == {"unlocked": [], "failed": []}


async def test_a_defect_is_recorded_as_one(tmp_path: Path) -> None:
    file = tmp_path / "audit"
    with pytest.raises(TypeError):
        await Routes(None, Audit(file))(Request("GET", "/v1/instances", b"", US))
    assert json.loads(file.read_text())["outcome"] == problems.INTERNAL.code
