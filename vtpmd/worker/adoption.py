"""A daemon that was started anew adopts this worker: whoever connects and speaks first."""

import selectors
import socket
from collections.abc import Callable

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import Message
from vtpmd.ipc.rules import Side, State
from vtpmd.linux.descriptors import close_fds

from .admission import Admission, Door
from .loop import Loop

_MAX_CANDIDATES = 4


class Adoption:
    """`adopt` gets the channel of the new supervisor and its first message."""

    def __init__(
        self,
        loop: Loop,
        admission: Admission,
        listener: socket.socket,
        adopt: Callable[[Channel, Message], None],
    ) -> None:
        self._loop = loop
        self._adopt = adopt
        self._candidates: list[Channel] = []
        self.door = Door(loop, admission, listener, self._welcome)

    def _welcome(self, sock: socket.socket) -> None:
        if len(self._candidates) == _MAX_CANDIDATES:
            self._dismiss(self._candidates[0])
        sock.setblocking(False)
        candidate = Channel(sock, Side.WORKER, State.SERVING)
        candidate.on_close = self._loop.forget
        self._candidates.append(candidate)
        self._loop.watch(candidate, selectors.EVENT_READ, lambda: self._hear(candidate))

    def _hear(self, candidate: Channel) -> None:
        """A candidate speaks: a supervisor takes the old one's place, others must go."""
        try:
            message, fds = candidate.receive()
        except BlockingIOError:
            return
        except (ChannelClosedError, IllegalMessageError):
            self._dismiss(candidate)
            return
        close_fds(fds)
        self._candidates.remove(candidate)
        self._loop.forget(candidate)
        self._adopt(candidate, message)

    def _dismiss(self, candidate: Channel) -> None:
        self._candidates.remove(candidate)
        self._loop.forget(candidate)
        candidate.close()
