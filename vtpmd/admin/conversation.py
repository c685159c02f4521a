"""HTTP/1.1 on one connection of the admin socket: h11 over trio, with limits."""

import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import h11
import trio

from vtpmd import __version__
from vtpmd.api import names, problems
from vtpmd.api.problems import OperationError
from vtpmd.linux.peers import Peer

from .quota import Quota

MAX_HEADER: Final = 16 * 1024
MAX_BODY: Final = 256 * 1024
REQUEST_TIMEOUT: Final = 10.0
RESPONSE_TIMEOUT: Final = 30.0

# Octets of request bodies: four bundles of one user, two of root's whatever others send.
BODIES: Final = 8 * names.MAX_BUNDLE
BODIES_PER_USER: Final = 4 * names.MAX_BUNDLE
RESERVED_BODIES: Final = 2 * names.MAX_BUNDLE

RETRY_AFTER: Final = 1


@dataclass(frozen=True)
class Request:
    """One request as the routes see it; `target` is still percent-encoded."""

    method: str
    target: str
    body: bytes
    peer: Peer
    fields: Mapping[str, str] = field(default_factory=dict)
    """Its header fields, by lower-case name."""


Put = Callable[[bytes], None]
"""Sends a line on, without waiting."""


@dataclass(frozen=True)
class Response:
    """Status and content: JSON, bytes as they are, or none (None).

    `work` is what is to be done while the answer is sent, which `put`s the lines that it has.
    """

    status: int
    content: object = None
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    work: Callable[[Put], Awaitable[None]] | None = None

    def encode(self) -> tuple[dict[str, str], bytes]:
        """The header fields and the body."""
        body = _encoded(self.content)
        headers = {
            "Server": f"vtpmd/{__version__}",
            **({} if self.work else {"Content-Length": str(len(body))}),
            "Cache-Control": "no-store",
            **({"Content-Type": self.media_type} if body or self.work else {}),
            **self.headers,
        }
        return headers, body


class NoMethodError(OperationError):
    """There is something at the target, for other methods: `known`."""

    def __init__(self, target: str, known: Sequence[str]) -> None:
        self.known = ", ".join(known)
        super().__init__(problems.NO_METHOD, f"{target} knows only {self.known}.")


def problem_document(error: OperationError) -> dict[str, object]:
    """A problem document (RFC 9457)."""
    problem = error.problem
    return {
        "type": names.PROBLEM_TYPE_PREFIX + problem.code,
        "title": problem.title,
        "status": problem.status,
        "detail": error.detail,
        "code": problem.code,
    }


def problem_response(error: OperationError) -> Response:
    """The answer that says it."""
    status = error.problem.status
    headers = {"Retry-After": str(RETRY_AFTER)} if error.problem is problems.BUSY else {}
    headers |= {"Allow": error.known} if isinstance(error, NoMethodError) else {}
    return Response(status, problem_document(error), names.PROBLEM_MEDIA_TYPE, headers)


@lru_cache(maxsize=64)
def last_answer(problem: problems.Problem, detail: str) -> bytes:
    """A whole HTTP message for a client whose request is not read, before the close."""
    response = problem_response(OperationError(problem, detail))
    headers, body = response.encode()
    lines = [f"HTTP/1.1 {response.status} ", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _encoded(content: object) -> bytes:
    if content is None or isinstance(content, bytes):
        return content or b""
    return json.dumps(content).encode() + b"\n"


class Conversation:
    """The HTTP side of one connection; `bodies` is what all requests' bodies together may hold."""

    def __init__(self, stream: trio.abc.Stream, peer: Peer, bodies: Quota) -> None:
        self._stream = stream
        self._peer = peer
        self._bodies = bodies
        self._reserved = 0
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER)

    @property
    def is_cut_short(self) -> bool:
        """Whether the client has been answered, or given up on, before the end of a request."""
        return self._http.their_state not in (h11.DONE, h11.CLOSED, h11.MUST_CLOSE)

    def release(self) -> None:
        """Give back what the last request's body has taken up."""
        self._bodies.give(self._peer.uid, self._reserved)
        self._reserved = 0

    async def request(self) -> Request | None:
        """The next request, None at the end. Raises OperationError for one that is refused.

        A body may have MAX_BODY octets, or MAX_BUNDLE if it is a bundle. It counts as held by the
        user until `release`.
        """
        try:
            with trio.fail_after(REQUEST_TIMEOUT):
                return await self._read()
        except h11.RemoteProtocolError as error:
            raise OperationError(problems.INVALID, f"Not HTTP: {error}") from None
        except trio.TooSlowError:
            if self._http.their_state is h11.IDLE and not self._http.trailing_data[0]:
                return None
            raise OperationError(
                problems.TIMEOUT,
                f"A request must be complete within {REQUEST_TIMEOUT:.0f} seconds.",
            ) from None

    async def _read(self) -> Request | None:
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        is_bundle = fields.get("content-type") == names.BUNDLE_MEDIA_TYPE
        limit = names.MAX_BUNDLE if is_bundle else MAX_BODY
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            if len(body) + len(event.data) > limit:
                raise OperationError(problems.TOO_LARGE, f"A request body may have {limit} bytes.")
            self._reserve(len(event.data))
            body += event.data
        method, target = head.method.decode(), head.target.decode()
        return Request(method, target, bytes(body), self._peer, fields)

    def _reserve(self, octets: int) -> None:
        if not self._bodies.take(self._peer.uid, octets):
            raise OperationError(problems.BUSY, "Too many large requests arrive at once.")
        self._reserved += octets

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(bytes(await self._stream.receive_some(MAX_HEADER)))
        return event

    async def respond(self, response: Response) -> bool:
        """Send a response; whether another request may follow."""
        headers, body = response.encode()
        head = h11.Response(status_code=response.status, headers=list(headers.items()))
        if response.work is not None:
            await self._tell(head, response.work)
        else:
            with trio.fail_after(RESPONSE_TIMEOUT):
                await self._send(head, h11.Data(data=body), h11.EndOfMessage())
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _tell(self, head: h11.Response, work: Callable[[Put], Awaitable[None]]) -> None:
        """Do the work to its end, whether the client reads of it or is gone."""
        sender, receiver = trio.open_memory_channel[bytes](math.inf)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._forward, head, receiver)
            async with sender:
                await work(sender.send_nowait)

    async def _forward(self, head: h11.Response, lines: trio.MemoryReceiveChannel[bytes]) -> None:
        try:
            await self._send(head)
            async for line in lines:
                with trio.fail_after(RESPONSE_TIMEOUT):
                    await self._send(h11.Data(data=line))
            await self._send(h11.EndOfMessage())
        except (trio.BrokenResourceError, trio.TooSlowError):
            return

    async def _send(self, *events: h11.Event) -> None:
        await self._stream.send_all(b"".join(self._http.send(event) or b"" for event in events))
