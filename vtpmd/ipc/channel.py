"""One end of a message channel: AF_UNIX SOCK_SEQPACKET, one message per packet, with its fds.

Each end begins with a greeting that says its version. After that both follow the state table of
`messages`: what may not be sent is refused before it leaves, what may not arrive closes the
channel. Blocking follows the socket: the worker polls a non-blocking one, the supervisor waits for
readiness first.
"""

import array
import contextlib
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from vtpmd.linux.descriptors import close_fds
from vtpmd.linux.peers import CREDENTIALS, Peer

from . import version
from .codec import MAX_MESSAGE, MalformedMessageError, UnknownMessageError
from .messages import Event, Message
from .rules import CODEC, RULES, Side, State
from .version import Version, greeting, read_greeting

MAX_FDS = max(max(rule.fds) for rule in RULES.values())
_MAX_NAME = 64  # characters of the name of a message that we do not know
_FD = array.array("i")


class ChannelClosedError(Exception):
    """The other end is gone."""


class IllegalMessageError(Exception):
    """A message that the table forbids in this state, or octets that are no message."""


class VersionError(IllegalMessageError):
    """The other end speaks a version that we do not understand."""


class Channel:
    """Owns `sock`, which is connected, and greets the other end.

    `side` says who we are and `state` where the conversation stands. `greeted`: another process has
    greeted on it before, in whose place we go on; then the other end's version may be `met`.
    """

    def __init__(
        self,
        sock: socket.socket,
        side: Side,
        state: State,
        *,
        greeted: bool = False,
        met: Version | None = None,
    ) -> None:
        self._socket = sock
        self._side = side
        self.state = state
        self.peer_version: Version | None = met
        """The version of the other end, once its greeting has been received."""
        self.sender: Peer | None = None
        """Who sent the packet received last, by the kernel's word; None unless from `connect`."""
        self.on_close: Callable[[Channel], None] = lambda channel: None
        """Is given this channel before it is closed, also by `receive`: who waits for it must
        forget it while it has its descriptor."""
        if not greeted:
            with contextlib.suppress(OSError):  # whoever is gone is missed when something is sent
                sock.send(greeting(version.PROTOCOL))

    @classmethod
    def pair(cls) -> tuple[socket.socket, socket.socket]:
        """Two connected sockets, close-on-exec, for the two ends of a new channel."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def fileno(self) -> int:
        """The socket's descriptor, for selectors; -1 once closed."""
        return self._socket.fileno()

    def set_blocking(self, blocking: bool) -> None:
        """Whether `send` and `receive` wait."""
        self._socket.setblocking(blocking)

    def set_patience(self, seconds: float) -> None:
        """`send` and `receive` wait no longer for a packet, and raise TimeoutError then."""
        self._socket.settimeout(seconds)

    def stop_hearing(self) -> None:
        """From now on nothing arrives that has not arrived yet; who sends it finds us gone.

        What is there can still be received. Raises OSError.
        """
        self._socket.shutdown(socket.SHUT_RD)

    @classmethod
    def connect(cls, path: Path, side: Side, state: State) -> "Channel":
        """A channel, not blocking, to whoever listens on `path`. Raises OSError.

        The kernel says with every packet whose it is (`sender`): process, user and group are those
        of the sender, which has no say in it. The kernel is asked before there is a connection,
        since the other end greets as soon as there is one.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            sock.setblocking(False)
            sock.connect(bytes(path))
        except OSError:
            sock.close()
            raise
        return cls(sock, side, state)

    def close(self) -> None:
        if self.fileno() >= 0:
            self.on_close(self)
        self._socket.close()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send one message; the descriptors are duplicated to the peer and stay ours.

        Raises IllegalMessageError when the table forbids it (nothing is sent), ChannelClosedError
        when the peer is gone, BlockingIOError when a non-blocking socket is full.
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

    def meet(self) -> Version:
        """The version that the other end has begun with, whether we understand it or not.

        Raises as `receive`.
        """
        if self.peer_version is None:
            packet, fds = self._receive_packet()
            close_fds(fds)
            self.peer_version = None if fds else read_greeting(bytes(packet))
            if self.peer_version is None:
                self.close()
                raise IllegalMessageError("the other end does not begin with its version")
        return self.peer_version

    def receive(self) -> tuple[Message, list[int]]:
        """The next message and its descriptors (close-on-exec, now the caller's).

        A report that only a newer version knows is received as an Event "unknown-report". Raises
        ChannelClosedError at the end, BlockingIOError when nothing is there, VersionError if the
        other end's version is not understood, and IllegalMessageError for whatever table or codec
        refuse: the channel is closed then and no descriptor leaks.
        """
        theirs = self.meet()
        if not version.PROTOCOL.understands(theirs):
            self.close()
            raise VersionError(
                f"the other end speaks version {theirs} of the protocol, not {version.PROTOCOL}"
            )
        packet, fds = self._receive_packet()
        try:
            message = self._decode(bytes(packet))
            self.state = self._judge(message, from_us=False, fds=len(fds))
        except (MalformedMessageError, IllegalMessageError) as error:
            close_fds(fds)
            self.close()
            raise IllegalMessageError(str(error)) from None
        finally:
            packet[:] = bytes(len(packet))  # it may have held a DEK
        return message, fds

    def _decode(self, packet: bytes) -> Message:
        try:
            return cast("Message", CODEC.decode(packet))
        except UnknownMessageError as error:
            if self._side is Side.SUPERVISOR and len(error.name) <= _MAX_NAME:
                return Event("unknown-report", error.name)
            raise

    def _receive_packet(self) -> tuple[bytearray, list[int]]:
        """One packet and its descriptors. Raises as `receive`."""
        buffer = bytearray(MAX_MESSAGE)
        fds = _FD[:0]
        # Room for the credentials as well, whether they come or not: what does not fit is cut off.
        room = socket.CMSG_SPACE(MAX_FDS * _FD.itemsize) + socket.CMSG_SPACE(CREDENTIALS.size)
        receive = partial(self._socket.recvmsg_into, [buffer], room, socket.MSG_CMSG_CLOEXEC)
        try:
            try:
                length, ancillary, flags, _ = receive()
            except ConnectionResetError:
                # Told once, of an end that closed without having read all; what it sent is there.
                length, ancillary, flags, _ = receive()
        except ConnectionError:
            raise ChannelClosedError from None
        self.sender = None
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid, uid, gid = CREDENTIALS.unpack(content)
                self.sender = Peer(pid, uid, frozenset({gid}))
        del buffer[length:]
        if not buffer:
            close_fds(fds)
            raise ChannelClosedError
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            buffer[:] = bytes(len(buffer))
            close_fds(fds)
            self.close()
            raise IllegalMessageError("message or descriptors truncated")
        return buffer, list(fds)

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
