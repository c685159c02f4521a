"""HTTP/1.1 on the admin socket: h11 over trio, with limits for every client."""

import contextlib
import json
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import h11
import trio

from vtpmd import __version__
from vtpmd.api import names, problems
from vtpmd.api.problems import OperationError
from vtpmd.config.schema import group_id
from vtpmd.linux.peers import Peer, PeerPolicy, peer_of
from vtpmd.telemetry.audit import Audit, acting
from vtpmd.telemetry.log import get_logger

MAX_HEADER = 16 * 1024
MAX_BODY = 256 * 1024
REQUEST_TIMEOUT = 10.0
RESPONSE_TIMEOUT = 30.0
CONNECTIONS_PER_USER = 32

log = get_logger("admin")


@dataclass(frozen=True)
class Request:
    """One request as the routes see it; `target` is still percent-encoded."""

    method: str
    target: str
    body: bytes
    peer: Peer


@dataclass(frozen=True)
class Response:
    """Status and content: JSON, bytes as they are, or none (None)."""

    status: int
    content: object = None
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


Dispatch = Callable[[Request], Awaitable[Response]]


def administrators(group: str | None) -> PeerPolicy:
    """Who may use the admin socket: root, our own user and members of the group, if it exists."""
    with contextlib.suppress(ValueError):
        return PeerPolicy(gids=frozenset() if group is None else frozenset({group_id(group)}))
    return PeerPolicy()


def problem_response(problem: problems.Problem, detail: str) -> Response:
    """A problem document (RFC 9457)."""
    content = {
        "type": names.PROBLEM_TYPE_PREFIX + problem.code,
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "code": problem.code,
    }
    return Response(problem.status, content, names.PROBLEM_MEDIA_TYPE)


class Server:
    """Answers administrators on a listening socket; everybody else gets a 403."""

    def __init__(self, dispatch: Dispatch, group: str | None, audit: Audit) -> None:
        self._dispatch = dispatch
        self._group = group
        self._audit = audit
        self._connections: Counter[int] = Counter()

    async def serve(self, listener: socket.socket) -> None:
        """Accept connections until cancelled."""
        accepting = trio.socket.from_stdlib_socket(listener)
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    connection, _ = await accepting.accept()
                except OSError as error:
                    # Out of file descriptors, or a client that was gone before it was accepted.
                    log.warning("accept-failed", reason=error.strerror)
                    await trio.sleep(0.1)
                    continue
                nursery.start_soon(self._attend, trio.SocketStream(connection))

    async def _attend(self, stream: trio.SocketStream) -> None:
        peer = peer_of(stream.socket)  # type: ignore[arg-type]
        async with stream:
            if self._connections[peer.uid] >= CONNECTIONS_PER_USER:
                return
            self._connections[peer.uid] += 1
            try:
                await self.converse(Conversation(stream, peer), peer)
            except (trio.BrokenResourceError, trio.TooSlowError, h11.LocalProtocolError):
                return  # the client went away, or does not read what it asked for
            except Exception:
                log.exception("connection-failed")
            finally:
                self._connections -= Counter({peer.uid: 1})

    async def converse(self, conversation: "Conversation", peer: Peer) -> None:
        """Answer the requests of one connection, one after the other."""
        policy = await trio.to_thread.run_sync(administrators, self._group)
        allowed = policy.permits(peer)
        while True:
            try:
                request = await conversation.request(names.MAX_BUNDLE if allowed else MAX_BODY)
                if request is None:
                    return
                if not allowed:
                    raise self._forbid(request)
                response = await self._dispatch(request)
            except OperationError as refused:
                response = problem_response(refused.problem, refused.detail)
            except Exception:
                log.exception("request-failed")
                response = problem_response(problems.INTERNAL, "The daemon's log has the details.")
            if not await conversation.respond(response):
                return

    def _forbid(self, request: Request) -> OperationError:
        peer, outcome = request.peer, problems.FORBIDDEN.code
        with acting(peer.uid, peer.pid):
            self._audit.record("request", verb=request.method, subject="", outcome=outcome)
        who = f"User {peer.uid} may not use the admin socket: only root and the daemon's user may"
        if self._group is None:
            return OperationError(problems.FORBIDDEN, f"{who}, as no admin group is configured.")
        return OperationError(problems.FORBIDDEN, f"{who}, and members of the group {self._group}.")


def _encoded(content: object) -> bytes:
    if content is None or isinstance(content, bytes):
        return content or b""
    return json.dumps(content).encode() + b"\n"


class Conversation:
    """The HTTP side of one connection."""

    def __init__(self, stream: trio.abc.Stream, peer: Peer) -> None:
        self._stream = stream
        self._peer = peer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER)

    async def request(self, max_bundle: int) -> Request | None:
        """The next request, None at the end. Raises OperationError for a malformed one.

        A body may have MAX_BODY bytes, or `max_bundle` if it is a bundle.
        """
        try:
            with trio.fail_after(REQUEST_TIMEOUT):
                return await self._read(max_bundle)
        except h11.RemoteProtocolError as error:
            raise OperationError(problems.INVALID, f"Not HTTP: {error}") from None
        except trio.TooSlowError:
            if self._http.their_state is h11.IDLE and not self._http.trailing_data[0]:
                return None
            raise OperationError(
                problems.TIMEOUT,
                f"A request must be complete within {REQUEST_TIMEOUT:.0f} seconds.",
            ) from None

    async def _read(self, max_bundle: int) -> Request | None:
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        is_bundle = (b"content-type", names.BUNDLE_MEDIA_TYPE.encode()) in list(head.headers)
        limit = max_bundle if is_bundle else MAX_BODY
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > limit:
                raise OperationError(problems.TOO_LARGE, f"A request body may have {limit} bytes.")
        return Request(head.method.decode(), head.target.decode(), bytes(body), self._peer)

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(bytes(await self._stream.receive_some(MAX_HEADER)))
        return event

    async def respond(self, response: Response) -> bool:
        """Send a response; whether another request may follow."""
        body = _encoded(response.content)
        headers = {
            "Server": f"vtpmd/{__version__}",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            **({"Content-Type": response.media_type} if body else {}),
            **response.headers,
        }
        with trio.fail_after(RESPONSE_TIMEOUT):
            await self._send(
                h11.Response(status_code=response.status, headers=list(headers.items())),
                h11.Data(data=body),
                h11.EndOfMessage(),
            )
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _send(self, *events: h11.Event) -> None:
        await self._stream.send_all(b"".join(self._http.send(event) or b"" for event in events))
