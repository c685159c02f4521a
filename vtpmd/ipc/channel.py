"""One end of a message channel: AF_UNIX SOCK_SEQPACKET, one message per packet, fds beside it.

Both ends follow the state table of ``messages``: what may not be sent is refused before it leaves,
what may not arrive closes the channel. Blocking follows the socket: the worker polls a non-blocking
one, the supervisor waits for readiness first.
"""

import array
import contextlib
import os
import socket
import struct
from collections.abc import Sequence
from typing import cast

from .codec import MalformedMessageError
from .messages import CODEC, RULES, Message, Side, State

MAX_MESSAGE = 64 * 1024
MAX_FDS = 4
_FD = array.array("i")
_CREDENTIALS = struct.Struct("=iII")  # struct ucred of unix(7): pid, uid, gid


class ChannelClosedError(Exception):
    """The other end is gone."""


class IllegalMessageError(Exception):
    """A message that the table forbids here and now, or octets that are none."""


class Channel:
    """Owns ``sock``; ``side`` says who we are and ``state`` where the conversation stands."""

    def __init__(self, sock: socket.socket, side: Side, state: State) -> None:
        self._socket = sock
        self._side = side
        self.state = state
        self._room = socket.CMSG_SPACE(MAX_FDS * _FD.itemsize)
        self.sender: int | None = None
        """Process id of who sent the message received last, after `identify_sender`."""

    @classmethod
    def pair(cls) -> tuple[socket.socket, socket.socket]:
        """Two connected sockets, close-on-exec, for the two ends of a new channel."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def fileno(self) -> int:
        """The socket's descriptor, for selectors; -1 once closed."""
        return self._socket.fileno()

    def set_blocking(self, blocking: bool) -> None:
        """Whether ``send`` and ``receive`` wait."""
        self._socket.setblocking(blocking)

    def identify_sender(self) -> None:
        """Have the kernel say with every message whose it is; the sender has no say in that."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._room += socket.CMSG_SPACE(_CREDENTIALS.size)

    def close(self) -> None:
        self._socket.close()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send one message; the descriptors are duplicated to the peer and stay ours.

        Raises IllegalMessageError when the table forbids it (nothing is sent), ChannelClosedError when the
        peer is gone, BlockingIOError when a non-blocking socket is full.
        """
        data = CODEC.encode(message)
        if len(data) > MAX_MESSAGE:
            raise IllegalMessageError(f"{type(message).__name__} of {len(data)} octets is too long")
        following = self._judge(message, from_us=True, fds=len(fds))
        try:
            socket.send_fds(self._socket, [data], list(fds))
        except ConnectionError:
            raise ChannelClosedError from None
        self.state = following

    def receive(self) -> tuple[Message, list[int]]:
        """The next message and its descriptors (close-on-exec, now the caller's).

        Raises ChannelClosedError at the end, BlockingIOError when nothing is there, and IllegalMessageError
        for whatever table or codec refuse: the channel is closed then and no descriptor leaks.
        """
        try:
            data, fds, whole = self._receive_packet()
        except ConnectionError:
            raise ChannelClosedError from None
        try:
            if not data:
                raise ChannelClosedError
            if not whole:
                raise IllegalMessageError("message or descriptors truncated")
            message = cast("Message", CODEC.decode(bytes(data)))
            self.state = self._judge(message, from_us=False, fds=len(fds))
        except (MalformedMessageError, IllegalMessageError) as error:
            _close_all(fds)
            self.close()
            raise IllegalMessageError(str(error)) from None
        except ChannelClosedError:
            _close_all(fds)
            raise
        finally:
            data[:] = bytes(len(data))  # it may have held a DEK
        return message, fds

    def _receive_packet(self) -> tuple[bytearray, list[int], bool]:
        buffer = bytearray(MAX_MESSAGE)
        fds = _FD[:0]
        length, ancillary, flags, _ = self._socket.recvmsg_into(
            [buffer], self._room, socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                self.sender, _, _ = _CREDENTIALS.unpack(content)
        del buffer[length:]
        return buffer, list(fds), not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)

    def _judge(self, message: object, *, from_us: bool, fds: int) -> State:
        name = type(message).__name__
        rule = RULES[type(message)]
        if (rule.sender is self._side) is not from_us:
            raise IllegalMessageError(f"{name} is sent by the {rule.sender.value}")
        if self.state not in rule.states:
            raise IllegalMessageError(f"{name} is not permitted while {self.state.value}")
        if fds not in rule.fds:
            raise IllegalMessageError(f"{name} carries {rule.fds} file descriptors, not {fds}")
        return rule.then or self.state


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
