"""Requests to the admin socket, as octets of HTTP: parsed strictly, answered always."""

import json
from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import h11
import structlog.testing
import trio

from tests.fuzz.demand import demand
from tests.fuzz.octets import Octets
from vtpmd.admin.conversation import Conversation, problem_response
from vtpmd.admin.quota import Quota
from vtpmd.admin.routes import HANDLERS, Routes
from vtpmd.admin.schema import parse
from vtpmd.api import codec, problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import Request
from vtpmd.linux.peers import Peer
from vtpmd.telemetry.audit import Audit

_US = Peer(1, 0, frozenset())
_BODIES = 1 << 20
_CUT = 1024  # inputs whose first octet is odd come in pieces of so many octets and fewer


def admin(data: bytes) -> None:
    """A connection with requests: each is refused as a problem, or parsed and read again."""
    octets = Octets(data)
    size = octets.number()
    stream = _Stream(octets.take(len(data)), size * 4 + 1 if size & 1 else _CUT)
    accepting = {route: replace(each, operation=_accept) for route, each in HANDLERS.items()}
    with mock.patch.dict(HANDLERS, accepting), structlog.testing.capture_logs():
        trio.run(_converse, stream)
    _check(bytes(stream.sent))


async def _converse(stream: "_Stream") -> None:
    bodies = Quota(total=_BODIES, each=_BODIES)
    conversation, routes = Conversation(stream, _US, bodies), Routes(None, Audit())
    going_on = True
    while going_on:
        try:
            request = await conversation.request()
            if request is None:
                return
            response = await routes(request)
        except OperationError as refused:
            demand(refused.problem is not problems.INTERNAL)
            response = problem_response(refused)
        conversation.release()
        try:
            going_on = await conversation.respond(response)
        except h11.LocalProtocolError:  # the connection ends, as `Server` has it
            return


async def _accept(_fleet: object, *arguments: object) -> None:
    for argument in arguments:
        assert argument is None or callable(argument) or isinstance(argument, str | bytes | Request)
        if isinstance(argument, Request):
            document = json.dumps(codec.encode_request(argument)).encode()
            assert parse(type(argument), document) == argument


def _check(sent: bytes) -> None:
    """What was sent are whole answers, none of them an internal error."""
    client = h11.Connection(h11.CLIENT)
    while sent:
        if client.our_state is h11.DONE:
            client.start_next_cycle()
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(sent)
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            assert isinstance(event, h11.Response | h11.InformationalResponse | h11.Data)
            if isinstance(event, h11.Response):
                assert event.status_code in (200, 201, 204, 400, 404, 405, 408, 413)
        sent, _ = client.trailing_data
        if client.their_state is not h11.DONE:
            assert not sent
            return
        client = h11.Connection(h11.CLIENT)


class _Stream(trio.abc.Stream):
    """What is received in pieces of `size` octets; `sent` is what was answered."""

    def __init__(self, data: bytes, size: int) -> None:
        self._rest, self._size = data, size
        self.sent = bytearray()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        size = min(self._size, max_bytes or self._size)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    async def wait_send_all_might_not_block(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


TARGETS: tuple[Callable[[bytes], None], ...] = (admin,)
