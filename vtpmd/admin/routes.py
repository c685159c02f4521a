"""From a request to the operation that carries it out, and back."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote

from vtpmd.api import names, problems
from vtpmd.api import schema as api
from vtpmd.api.codec import plain
from vtpmd.api.problems import OperationError
from vtpmd.linux.peers import Peer
from vtpmd.operations.progress import Tell, silent
from vtpmd.telemetry.audit import Audit, acting

from . import handlers
from .conversation import NoMethodError, Put, Request, Response, problem_document
from .documents import write
from .handlers import CREATING, Handler
from .openapi import document


async def _openapi(_: object) -> bytes:
    """This description of the admin interface, an OpenAPI 3.1 document."""
    return document(HANDLERS)


HANDLERS = {names.OPENAPI: Handler(_openapi, media_type="application/json"), **handlers.HANDLERS}
_PATTERNS = {
    route: re.compile(route.path.replace("{name}", "(?P<name>[^/?#]+)")) for route in HANDLERS
}


@dataclass
class Call:
    """One request on its way: `subject` is what it is about, as soon as that is known."""

    route: names.Route
    subject: str
    arguments: list[Any]
    query: str
    body: bytes
    fields: Mapping[str, str]
    tell: Tell = silent

    @property
    def idempotency_key(self) -> str | None:
        """What the client calls its request. Raises OperationError for no such key."""
        key = self.fields.get(names.IDEMPOTENCY_KEY.lower())
        if key is None:
            return None
        if not HANDLERS[self.route].idempotent:
            reason = f"{names.IDEMPOTENCY_KEY}: {self.route.verb} has no use for it."
            raise OperationError(problems.INVALID, reason)
        bare = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
        if re.fullmatch(names.IDEMPOTENCY_KEY_PATTERN, bare) is None:
            reason = f"{names.IDEMPOTENCY_KEY}: 1 to 128 letters, digits and signs."
            raise OperationError(problems.INVALID, reason)
        return bare

    @property
    def wants_progress(self) -> bool:
        """Whether the client wants to be told how far the operation is, and will be."""
        accepted = self.fields.get("accept", "")
        return HANDLERS[self.route].tells and names.PROGRESS_MEDIA_TYPE in accepted


class Routes:
    """Carries requests out on a fleet, and records each with its outcome.

    `fleet` is what the operations work on; nobody here looks into it.
    """

    def __init__(self, fleet: object, audit: Audit, reads: bool = True) -> None:
        self._fleet = fleet
        self._audit = audit
        self.record_reads(reads)

    def record_reads(self, reads: bool) -> None:
        """Whether requests that only look are recorded, too."""
        self._unrecorded: frozenset[names.Route] = frozenset() if reads else names.READS

    async def __call__(self, request: Request) -> Response:
        """Answer one request. Raises OperationError for what cannot be done."""
        path, _, query = request.target.partition("?")
        matches = {
            route.method: (route, match)
            for route, pattern in _PATTERNS.items()
            if (match := pattern.fullmatch(path))
        }
        if not matches:
            raise OperationError(problems.NO_ROUTE, f"There is nothing at {request.target}.")
        if request.method not in matches:
            raise NoMethodError(path, sorted(matches))
        route, match = matches[request.method]
        named = [unquote(name) for name in match.groups()]
        arguments = [self._fleet, *named]
        call = Call(route, "".join(named), arguments, query, request.body, request.fields)
        if call.wants_progress:
            work = partial(self._told, call, request.peer)
            return Response(200, media_type=names.PROGRESS_MEDIA_TYPE, work=work)
        with acting(request.peer.uid, request.peer.pid):
            return await self._recorded(call)

    async def _told(self, call: Call, peer: Peer, put: Put) -> None:
        """Carry a request out, and put how far that is and what comes of it, a line each."""
        call.tell = lambda progress: put(_line("progress", plain(progress)))
        try:
            with acting(peer.uid, peer.pid):
                response = await self._recorded(call)
        except OperationError as refused:
            put(_line("problem", problem_document(refused)))
        else:
            assert isinstance(response.content, bytes)  # a report, written
            put(b'{"result": %s}\n' % response.content.rstrip())

    async def _recorded(self, call: Call) -> Response:
        outcome, reason = "abandoned", ""
        try:
            response = await _carry_out(call)
            outcome = "done"
            return response
        except OperationError as refused:
            outcome, reason = refused.problem.code, refused.detail
            raise
        except Exception:
            outcome = problems.INTERNAL.code
            raise
        finally:
            if call.route not in self._unrecorded:
                self._audit.record(
                    "request",
                    verb=call.route.verb,
                    subject=call.subject,
                    outcome=outcome,
                    reason=reason,
                )


def _line(kind: str, document: object) -> bytes:
    return json.dumps({kind: document}).encode() + b"\n"


async def _carry_out(call: Call) -> Response:
    handler = HANDLERS[call.route]
    arguments = list(call.arguments)
    if (request := handler.request(call.query, call.body)) is not None:
        arguments.append(request)
        call.subject = call.subject or getattr(request, "name", None) or ""
    if handler.upload:
        arguments.append(call.body)
    key = call.idempotency_key
    if handler.idempotent:
        arguments.append(key)
    if handler.tells:
        arguments.append(call.tell)
    result = await handler.operation(*arguments)
    if isinstance(result, api.InstanceInfo):
        call.subject = call.subject or result.name
        if call.route in CREATING:
            location = names.INFO.path.format(name=result.uuid)
            return Response(201, await write(result), headers={"Location": location})
    if isinstance(result, bytes):
        return Response(200, result, handler.media_type)
    return Response(204) if result is None else Response(200, await write(result))
