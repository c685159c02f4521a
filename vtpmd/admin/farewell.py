"""The end of a connection whose client may still be writing."""

import contextlib
import socket
from typing import Final

import trio

from .quota import Quota

DRAINED: Final = 64 * 1024
"""How many octets are read, and dropped, of a client that has its answer."""

LINGER: Final = 1.0
LINGERING: Final = 64
LINGERING_PER_USER: Final = 4

_SCRAP: Final = bytearray(16 * 1024)  # written by all, read by nobody


class Farewell:
    """Closes connections in a way that lets the client read its answer.

    Our side is shut at once. The client may go on writing for up to `LINGER` seconds and `DRAINED`
    octets, so that one that writes its whole request first does not fail at that. As this keeps a
    connection open, only some may do so; to others the answer is delivered all the same, as the
    kernel keeps it for the client to read after EPIPE.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._lingering = Quota(LINGERING, LINGERING_PER_USER)

    def dismiss(self, connection: socket.socket, user: int, answer: bytes) -> None:
        """Answer a connection that has just been accepted, and close it."""
        try:
            # Never blocks nor is cut short: the buffer is empty.
            connection.send(answer, socket.MSG_DONTWAIT)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # gone already
            connection.close()
            return
        if self._lingering.take(user):
            self._nursery.start_soon(self._linger, connection, user)
        else:
            connection.close()

    async def _linger(self, connection: socket.socket, user: int) -> None:
        try:
            await drain(trio.socket.from_stdlib_socket(connection))
        finally:
            connection.close()
            self._lingering.give(user)


async def drain(connection: trio.socket.SocketType) -> None:
    """Read and drop what a client writes until it closes, within the limits."""
    left = DRAINED
    with trio.move_on_after(LINGER), contextlib.suppress(OSError):
        while left > 0 and (count := await connection.recv_into(_SCRAP, min(left, len(_SCRAP)))):
            left -= count
