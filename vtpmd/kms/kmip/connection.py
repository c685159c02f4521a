"""One TLS connection to a KMIP server: sends a request, receives the reply."""

import struct

import trio

from ..errors import KmsError
from ..tls import Credentials
from .constants import Tag
from .messages import MAX_REPLY
from .ttlv import TtlvError, Type

_HEADER = struct.Struct(">II")
_RESPONSE_MESSAGE = Tag.RESPONSE_MESSAGE << 8 | Type.STRUCTURE
_CHUNK = 1 << 16


class ConnectionLostError(KmsError):
    """The server closed the connection; the message says when."""


class Connection:
    """An open connection. After an exception of `exchange` it can only be aborted."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream

    @classmethod
    async def open(cls, host: str, port: int, credentials: Credentials) -> "Connection":
        """Connect and shake hands; the server's certificate must be one for `host`.

        Raises CredentialsError, OSError, trio.BrokenResourceError (its cause says why).
        """
        context = await trio.to_thread.run_sync(credentials.context, abandon_on_cancel=True)
        stream = await trio.open_ssl_over_tcp_stream(
            # KMIP servers close connections without close_notify; lengths show what is truncated.
            host, port, ssl_context=context, https_compatible=True
        )  # fmt: skip
        try:
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return cls(stream)

    async def exchange(self, message: bytes | bytearray) -> bytearray:
        """Send a message, return the reply, which the caller wipes.

        Raises ConnectionLostError, trio.BrokenResourceError, TtlvError if it cannot be a reply.
        """
        await self._stream.send_all(message)
        reply = bytearray()
        await self._receive(reply, _HEADER.size)
        word, length = _HEADER.unpack(reply)
        if word != _RESPONSE_MESSAGE:
            raise TtlvError(f"the reply begins with {word:08x}")
        if length > MAX_REPLY:
            raise TtlvError(f"the reply would have {length} octets, {MAX_REPLY} are permitted")
        await self._receive(reply, _HEADER.size + length)
        return reply

    async def abort(self) -> None:
        """Close it at once, without waiting for the server."""
        await trio.aclose_forcefully(self._stream)

    async def _receive(self, reply: bytearray, size: int) -> None:
        while len(reply) < size:
            chunk = await self._stream.receive_some(min(size - len(reply), _CHUNK))
            if not chunk:
                when = f"after {len(reply)} octets of its answer" if reply else "without an answer"
                raise ConnectionLostError(f"closed the connection {when}")
            reply += chunk
