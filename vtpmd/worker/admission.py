"""Connections that come in: accepted if their user may be there."""

import selectors
import socket
import time
from collections.abc import Callable
from typing import Final

from vtpmd.ipc.messages import Admit, Serve
from vtpmd.linux.peers import PeerPolicy, peer_of
from vtpmd.linux.scarcity import is_scarcity

from .execution import Report
from .loop import Selector

PAUSE: Final = 0.1
"""Seconds for which a listener rests when there was no descriptor or no memory left."""


def policy_of(order: Serve | Admit) -> PeerPolicy:
    """Who may connect, as the supervisor says."""
    return PeerPolicy(
        uids=frozenset(order.peer_uids),
        gids=frozenset(order.peer_gids),
        anybody=not order.check_peers,
    )


class Admission:
    """A policy for listeners, which may change; who is turned away is reported."""

    def __init__(self, policy: PeerPolicy, report: Report) -> None:
        self.policy = policy
        self._report = report

    def accept(self, listener: socket.socket) -> socket.socket | None:
        """The next connection, None if there is none or it is refused. Raises OSError."""
        sock, _ = listener.accept()
        peer = peer_of(sock)
        if not self.policy.permits(peer):
            self._report("client-refused", str(peer))
            sock.close()
            return None
        return sock


class Door:
    """A listener; a part of the loop. `welcome` is given who is admitted.

    A connection that can't be accepted stays readable. So a door rests for a moment where the host
    is short of something, and what came meanwhile waits in the backlog.
    """

    def __init__(
        self,
        selector: Selector,
        admission: Admission,
        listener: socket.socket,
        welcome: Callable[[socket.socket], None],
    ) -> None:
        self._selector = selector
        self._admission = admission
        self._listener = listener
        self._welcome = welcome
        self.deadline: float | None = None
        self._open()

    def tick(self, now: float) -> None:
        """Go on after a rest."""
        if self.deadline is not None and self.deadline <= now:
            self.deadline = None
            self._open()

    def close(self) -> None:
        """Stop listening."""
        self.deadline = None
        self._selector.forget(self._listener)
        self._listener.close()

    def _open(self) -> None:
        self._selector.watch(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        try:
            sock = self._admission.accept(self._listener)
        except OSError as error:
            if is_scarcity(error):
                self._selector.forget(self._listener)
                self.deadline = time.monotonic() + PAUSE
            return  # or it went away again
        if sock is not None:
            self._welcome(sock)
