"""A client's stream: octets are received as they come and sent as far as possible, never blocking.

The open files behind the sockets may be shared with other processes, so their flags are left alone
and each call asks not to block.
"""

import select
import selectors
import socket
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from .progress import Step, nowhere

R = TypeVar("R")

_RECEIVE = 16 * 1024
_MAX_DROPS = 32
# As plain numbers: what an Enum takes to look up or combine is much of a short command.
_DONTWAIT = int(socket.MSG_DONTWAIT)
_SEND = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_RECEIVE_FDS = int(socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
_unread = bytearray(_RECEIVE)
_IDLE, _TAKING, _AMID = int(Step.IDLE), int(Step.TAKING), int(Step.AMID)


class Connection(Generic[R]):
    """One client: its socket, the requests parsed and not yet answered, the octets not yet sent.

    `deadline` (monotonic seconds) is when an incomplete request is given up; `last_heard` when
    the client last sent anything. About `MAX_FDS` descriptors are taken with the octets of one
    receive; the kernel drops all others and `truncated` says that it did. `on_close` is given
    the connection before its socket is closed. `step`: where it is noted how far its request is.
    """

    MAX_FDS = 0

    def __init__(self, sock: socket.socket, heard: float) -> None:
        self.socket = sock
        self.pending: deque[R] = deque()
        self.outgoing = bytearray()
        self.deadline: float | None = None
        self.last_heard = heard
        self.closing = False
        self.closed = False
        self.on_close: Callable[[Connection[R]], None] = lambda connection: None
        self.truncated = False
        self.step = nowhere()
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        self._poll = poller.poll
        self._recv = sock.recv

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def events(self) -> int:
        """What to wait for: never read while output is queued, so buffers stay bounded."""
        if self.outgoing:
            return selectors.EVENT_WRITE
        return 0 if self.pending or self.closing else selectors.EVENT_READ

    def receive(self) -> tuple[bytes, list[int]] | None:
        """What is there, with its descriptors; b"" at the end, None if nothing is."""
        if not self.MAX_FDS:
            octets = self.receive_octets()
            return None if octets is None else (octets, [])
        if not self.step[0]:
            self.step[0] = _TAKING
        try:
            data, fds, flags, _ = socket.recv_fds(self.socket, _RECEIVE, self.MAX_FDS, _RECEIVE_FDS)
        except (BlockingIOError, InterruptedError):
            self.take_nothing()
            return None
        except OSError:
            return b"", []
        self.truncated = bool(flags & socket.MSG_CTRUNC)
        return data, fds

    def receive_octets(self) -> bytes | None:
        """As `receive`, where no descriptors are taken."""
        if not self.step[0]:
            self.step[0] = _TAKING
        try:
            return self._recv(_RECEIVE, _DONTWAIT)
        except (BlockingIOError, InterruptedError):
            self.take_nothing()
            return None
        except OSError:
            return b""

    def take_nothing(self) -> None:
        """Note that no request was taken."""
        if self.step[0] == _TAKING:
            self.step[0] = _IDLE

    def take_a_part(self) -> None:
        """Note that a part of a request was taken."""
        self.step[0] = _AMID

    def drop_unread(self) -> int:
        """Throw away what is there to be received; how many octets.

        Until the socket would block, or after more than it holds: nobody can keep us here.
        """
        dropped = 0
        for _ in range(_MAX_DROPS):
            if not self.has_sent():  # as a rule: cheaper than an exception
                break
            try:
                count = self.socket.recv_into(_unread, 0, _DONTWAIT)
            except OSError:
                break
            if not count:
                break
            dropped += count
        return dropped

    def send(self, data: bytes) -> None:
        """Send in one write what the socket takes, keep the rest; close if the client is gone."""
        if self.outgoing:
            self.outgoing += data
            return
        self.step[0] = _IDLE
        try:
            sent = self.socket.send(data, _SEND)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent < len(data):
            self.step[0] = _AMID
            self.outgoing += data[sent:]

    def flush(self) -> None:
        """Go on sending, now that the socket is writable."""
        data, self.outgoing = bytes(self.outgoing), bytearray()
        self.send(data)

    def has_sent(self) -> bool:
        """Whether there is something to receive."""
        return bool(self._poll(0))

    def hung_up(self) -> bool:
        """Whether the other end is gone, even if we have not read that far."""
        poller = select.poll()
        poller.register(self.socket, select.POLLRDHUP)
        return bool(poller.poll(0))

    def close(self) -> None:
        self.pending.clear()
        self.outgoing.clear()
        if not self.closed:
            self.closed = True
            self.on_close(self)
            self.socket.close()
