"""A server that does what a test tells it to, and replies written down byte by byte."""

import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import trio

from tests.kms.certificates import Pair

Stream: TypeAlias = trio.SSLStream[trio.SocketStream]
Script: TypeAlias = Callable[[Stream], Awaitable[None]]

STRUCTURE, INTEGER, ENUMERATION, TEXT, BYTES = 1, 2, 5, 7, 8


def item(tag: int, kind: int, *values: bytes | int | str) -> bytes:
    """One TTLV item; `tag` without its first byte, 0x42."""
    content = b""
    for value in values:
        if isinstance(value, int):
            content += struct.pack(">I", value)
        else:
            content += value.encode() if isinstance(value, str) else value
    return struct.pack(">BHBI", 0x42, tag, kind, len(content)) + content + bytes(-len(content) % 8)


def batch_item(
    operation: int,
    *payload: bytes,
    status: int = 0,
    reason: int | None = None,
    message: str | None = None,
) -> bytes:
    """What a reply says about one operation."""
    fields = [item(0x5C, ENUMERATION, operation), item(0x7F, ENUMERATION, status)]
    if reason is not None:
        fields.append(item(0x7E, ENUMERATION, reason))
    if message is not None:
        fields.append(item(0x7D, TEXT, message))
    if status == 0:
        fields.append(item(0x7C, STRUCTURE, *payload))
    return item(0x0F, STRUCTURE, *fields)


def reply(*batch_items: bytes, version: tuple[int, int] = (1, 4), count: int = 1) -> bytes:
    """A whole reply."""
    major, minor = version
    header = item(
        0x7A,
        STRUCTURE,
        item(0x69, STRUCTURE, item(0x6A, INTEGER, major), item(0x6B, INTEGER, minor)),
        item(0x92, 9, struct.pack(">q", 1700000000)),
        item(0x0D, INTEGER, count),
    )
    return item(0x7B, STRUCTURE, header, *batch_items)


def state_reply(key: str = "1", state: int = 2) -> bytes:
    """The answer to Get Attributes for a key in this state."""
    attribute = item(0x08, STRUCTURE, item(0x0A, TEXT, "State"), item(0x0B, ENUMERATION, state))
    return reply(batch_item(0x0B, item(0x94, TEXT, key), attribute))


async def read_request(stream: Stream) -> bytes:
    """The next request, empty when the client has closed the connection."""
    data = b""
    while len(data) < 8 or len(data) < 8 + int.from_bytes(data[4:8]):
        chunk = await stream.receive_some(1 << 16)
        if not chunk:
            return b""
        data += chunk
    return data


def answering(*replies: bytes) -> Script:
    """Answer requests with these, one after the other, then close the connection."""

    async def script(stream: Stream) -> None:
        for each in replies:
            if not await read_request(stream):
                return
            await stream.send_all(each)

    return script


class ScriptedServer:
    """Listens on `port` of localhost; `connections` counts who came, TLS or not."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections = 0
        self.script: Script = answering()


def server_context(pair: Pair, authority: Path) -> ssl.SSLContext:
    """Mutual TLS as servers do it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def scripted(context: ssl.SSLContext) -> AsyncIterator[ScriptedServer]:
    """Run a server until the end of the block."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = ScriptedServer(listeners[0].socket.getsockname()[1])

        async def handle(stream: trio.SocketStream) -> None:
            server.connections += 1
            secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
            try:
                await server.script(secure)
            except trio.BrokenResourceError:
                pass  # the client did not like it
            finally:
                await trio.aclose_forcefully(secure)

        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield server
        nursery.cancel_scope.cancel()
