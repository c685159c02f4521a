"""Metrics over TCP, on the loopback interface alone: whoever is on this host may read them."""

from collections.abc import Awaitable, Callable
from typing import Final

import h11
import trio

from vtpmd.api import names, problems
from vtpmd.api.problems import OperationError
from vtpmd.linux.peers import Peer
from vtpmd.telemetry.log import get_logger
from vtpmd.telemetry.metrics import MEDIA_TYPE

from .conversation import Conversation, Response, problem_response
from .quota import Quota

HOST: Final = "127.0.0.1"
MOST: Final = 8
"""Connections that are answered at once; others wait."""
WAITING: Final = 64
"""So many may wait, and further ones are closed: nobody takes all of the daemon's descriptors."""
_ANYBODY: Final = Peer(0, 0xFFFFFFFE, frozenset())
_NO_BODIES: Final = Quota(0, 0, 0)

log = get_logger("metrics")

Metrics = Callable[[], Awaitable[bytes]]


async def serve(listener: trio.SocketListener, metrics: Metrics) -> None:
    """Answer scrapes until cancelled."""
    places = trio.CapacityLimiter(MOST)

    async def attend(stream: trio.SocketStream) -> None:
        if places.statistics().tasks_waiting < WAITING:
            async with places:
                await _attend(stream, metrics)

    await trio.serve_listeners(attend, [listener])


async def listen(port: int) -> trio.SocketListener:
    """A listener on the loopback interface. Raises OSError."""
    (listener,) = await trio.open_tcp_listeners(port, host=HOST)
    return listener


async def _attend(stream: trio.SocketStream, metrics: Metrics) -> None:
    conversation = Conversation(stream, _ANYBODY, _NO_BODIES)
    try:
        while await conversation.respond(await _response(conversation, metrics)):
            pass
    except (trio.BrokenResourceError, trio.TooSlowError, h11.LocalProtocolError):
        return  # the client went away, or does not read what it asked for
    except Exception as error:
        log.error("metrics-failed", exc_info=error)
    finally:
        conversation.release()


async def _response(conversation: Conversation, metrics: Metrics) -> Response:
    try:
        request = await conversation.request()
        if request is None:
            raise trio.BrokenResourceError
        if (request.method, request.target) != (names.METRICS.method, names.METRICS.path):
            raise OperationError(problems.NO_ROUTE, f"There is only {names.METRICS.path} here.")
        return Response(200, await metrics(), MEDIA_TYPE)
    except OperationError as refused:
        return problem_response(refused)
