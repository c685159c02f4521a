"""From a request to its operation and back: statuses, locations, and what the audit names."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.conftest import stage
from tests.supervisor.stage import Stage
from vtpmd.admin.conversation import Request, Response, problem_response
from vtpmd.admin.handlers import CREATING
from vtpmd.admin.routes import HANDLERS, Routes
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

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] = b"",
        fields: dict[str, str] | None = None,
    ) -> Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self._routes(Request(method, f"/v1{path}", content, US, fields or {}))

    async def refused(self, *request: Any) -> problems.Problem:
        with pytest.raises(OperationError) as caught:
            await self.ask(*request)
        return caught.value.problem

    def last(self) -> tuple[str, str, str]:
        """Verb, subject and outcome of the request recorded last."""
        line = json.loads(Path(self.audit).read_text().splitlines()[-1])
        return line["verb"], line["subject"], line["outcome"]


def document(response: Response) -> Any:
    assert isinstance(response.content, bytes)
    return json.loads(response.content)


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
        info = document(response)
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
    assert document(await admin.ask("POST", "/unlock")) == {"unlocked": [], "failed": []}


async def test_a_defect_is_recorded_as_one(tmp_path: Path) -> None:
    file = tmp_path / "audit"
    with pytest.raises(TypeError):
        await Routes(None, Audit(file))(Request("GET", "/v1/instances", b"", US))
    assert json.loads(file.read_text())["outcome"] == problems.INTERNAL.code


async def test_another_method_is_told_which_there_are(stage: Stage) -> None:
    admin = Admin(stage)
    for method, target, known in (
        ("PUT", "/instances", "GET, POST"),
        ("POST", "/instances/a/backup", "GET"),
        ("HEAD", "/instances/a?x=1", "DELETE, GET, PATCH"),
    ):
        with pytest.raises(OperationError) as caught:
            await admin.ask(method, target)
        answer = problem_response(caught.value)
        assert (answer.status, answer.headers) == (405, {"Allow": known})


@pytest.mark.parametrize("route", HANDLERS, ids=lambda route: f"{route.method} {route.path}")
async def test_what_is_unknown_in_a_query_is_refused_by_name(
    stage: Stage, route: names.Route
) -> None:
    target = route.path.format(name="a").removeprefix("/v1")
    with pytest.raises(OperationError) as caught:
        await Admin(stage).ask(route.method, f"{target}?colour=red", b"")
    if route != names.METRICS:  # which is not below /v1
        assert caught.value.problem is problems.INVALID
        assert "colour: " in caught.value.detail


async def test_a_query_says_each_thing_once_and_a_body_is_not_for_nothing(stage: Stage) -> None:
    admin = Admin(stage)
    assert await admin.refused("GET", "/events?after=1&after=2") is problems.INVALID
    assert await admin.refused("GET", "/instances", b'{"state": "running"}') is problems.INVALID
    assert (await admin.ask("GET", "/instances", b"{}")).status == 200


async def test_how_far_it_is_is_told_line_by_line(stage: Stage) -> None:
    admin = Admin(stage)
    for name in ("a", "b"):
        await admin.ask("POST", "/instances", {"name": name})
    accept = {"accept": "application/x-ndjson"}
    answer = await admin.ask("POST", "/upgrade", fields=accept)
    assert (answer.status, answer.media_type) == (200, names.PROGRESS_MEDIA_TYPE)
    assert answer.work is not None
    lines: list[bytes] = []
    await answer.work(lines.append)
    *told, last = map(json.loads, lines)
    assert [each["progress"]["done"] for each in told] == [1, 2]
    assert {each["progress"]["name"] for each in told} == {"a", "b"}
    assert {each["progress"]["all"] for each in told} == {2}
    assert len(last["result"]["upgraded"]) == 2
    assert admin.last() == ("upgrade", "", "done")
    answer = await admin.ask("POST", "/unlock", {"provider": 7}, fields=accept)
    lines.clear()
    assert answer.work is not None
    await answer.work(lines.append)
    assert [json.loads(line)["problem"]["code"] for line in lines] == ["invalid"]
    assert admin.last() == ("unlock", "", "invalid")
    answer = await admin.ask("POST", "/upgrade")
    assert (answer.work, len(document(answer)["upgraded"])) == (None, 2)


@pytest.mark.parametrize("key", ["", "two words", "x" * 129, '"'])
async def test_a_key_of_a_request_is_checked(stage: Stage, key: str) -> None:
    admin, fields = Admin(stage), {"idempotency-key": key}
    body = {"name": "a", "start": False}
    with pytest.raises(OperationError) as caught:
        await admin.ask("POST", "/instances", body, fields=fields)
    assert caught.value.problem is problems.INVALID
    with pytest.raises(OperationError) as caught:
        await admin.ask("POST", "/upgrade", fields={"idempotency-key": "k"})
    assert "upgrade has no use for it" in caught.value.detail
    for spelled in ("k", '"k"'):  # as an item of a structured field, too
        made = await admin.ask("POST", "/instances", body, fields={"idempotency-key": spelled})
        assert made.status == 201
