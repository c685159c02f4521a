"""The admin socket: who connects is judged, and served or sent away."""

import socket
from collections.abc import Awaitable, Callable
from typing import Final

import h11
import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.linux.peers import Peer, peer_of
from vtpmd.telemetry.audit import Audit, acting
from vtpmd.telemetry.coalesce import INTERVAL, Coalescer
from vtpmd.telemetry.log import get_logger

from .admission import Admission
from .conversation import (
    BODIES,
    BODIES_PER_USER,
    RESERVED_BODIES,
    Conversation,
    Request,
    Response,
    last_answer,
    problem_response,
)
from .farewell import Farewell, drain
from .quota import Quota

BATCH: Final = 16
"""How many connections are accepted before everybody else has a turn."""

# The backlog is the short one of all our sockets on purpose: an administrator waits for what
# strangers have queued before. A longer one makes that wait longer, not rarer.

log = get_logger("admin")

Dispatch = Callable[[Request], Awaitable[Response]]


class Server:
    """Answers administrators on a listening socket; everybody else gets a 403, unheard.

    `open_to_group` is called with the GID of the admin group as soon as it is known, and with None
    when that group is to be kept out again.

    Refusals and failures that others can provoke are recorded once, and counted from then on.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        group: str | None,
        audit: Audit,
        open_to_group: Callable[[int | None], None] = lambda group: None,
    ) -> None:
        self._dispatch = dispatch
        self._audit = audit
        self.admission = Admission(group, open_to_group)
        self._bodies = Quota(BODIES, BODIES_PER_USER, RESERVED_BODIES)
        self._refusals = Coalescer[tuple[int, str]](self._record_refusals)
        self._failures = Coalescer[tuple[str, str]](_log_failures)

    async def serve(
        self,
        listener: socket.socket,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept connections until cancelled; started when administrators can come."""
        await self.admission.look_up_group()
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.admission.keep_group_current)
                nursery.start_soon(self._flush_regularly)
                farewell = Farewell(nursery)
                while True:
                    await trio.lowlevel.wait_readable(listener)
                    if not self._accept(listener, nursery, farewell):
                        await trio.sleep(0.1)
        finally:
            self._flush()

    def _accept(self, listener: socket.socket, nursery: trio.Nursery, farewell: Farewell) -> bool:
        """Accept a batch of those who wait; False if that is not possible now."""
        for _ in range(BATCH):
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                break
            except OSError as error:  # out of file descriptors
                if self._failures.is_first(("accept-failed", str(error.errno))):
                    log.warning("accept-failed", reason=error.strerror)
                return False
            peer = peer_of(connection)
            try:
                self.admission.admit(peer)
            except OperationError as refused:
                self._record_refusal(peer, refused.problem)
                farewell.dismiss(connection, peer.uid, last_answer(refused.problem, refused.detail))
            else:
                nursery.start_soon(self._attend, connection, peer)
        return True

    async def _attend(self, connection: socket.socket, peer: Peer) -> None:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(connection))
        try:
            async with stream:
                await self._converse(stream, peer)
        except (trio.BrokenResourceError, trio.TooSlowError, h11.LocalProtocolError):
            return  # the client went away, or does not read what it asked for
        except Exception as error:
            self._log_failure("connection-failed", error)
        finally:
            self.admission.leave(peer)

    async def _converse(self, stream: trio.SocketStream, peer: Peer) -> None:
        conversation = Conversation(stream, peer, self._bodies)
        more = True
        while more:
            try:
                more = await self._answer(conversation)
            finally:
                conversation.release()
        if conversation.is_cut_short:
            await stream.send_eof()
            await drain(stream.socket)

    async def _answer(self, conversation: Conversation) -> bool:
        """Answer one request of a connection; whether another may follow."""
        try:
            request = await conversation.request()
            if request is None:
                return False
            response = await self._dispatch(request)
        except OperationError as refused:
            response = problem_response(refused)
        except Exception as error:
            self._log_failure("request-failed", error)
            response = problem_response(
                OperationError(problems.INTERNAL, "The daemon's log has the details.")
            )
        return await conversation.respond(response)

    def _record_refusal(self, peer: Peer, problem: problems.Problem) -> None:
        if self._refusals.is_first((peer.uid, problem.code)):
            with acting(peer.uid, peer.pid):
                self._audit.record("connection-refused", outcome=problem.code)

    def _record_refusals(self, key: tuple[int, str] | None, count: int, seconds: float) -> None:
        whose = {} if key is None else {"uid": key[0], "outcome": key[1]}
        self._audit.record("connections-refused", **whose, count=count, seconds=round(seconds))

    def _log_failure(self, event: str, error: Exception) -> None:
        if self._failures.is_first((event, type(error).__name__)):
            log.error(event, exc_info=error)

    async def _flush_regularly(self) -> None:
        while True:
            await trio.sleep(INTERVAL)
            self._flush()

    def _flush(self) -> None:
        self._refusals.flush()
        self._failures.flush()


def _log_failures(key: tuple[str, str] | None, count: int, seconds: float) -> None:
    event, kind = key or ("others", "")
    log.warning("repeated", what=event, kind=kind, count=count, seconds=round(seconds))
