"""Connections that come in: accepted if their user may be there."""

import socket

from vtpmd.ipc.messages import Admit, Serve
from vtpmd.linux.peers import PeerPolicy, peer_of

from .execution import Report


def policy_of(order: Serve | Admit) -> PeerPolicy:
    """Who may connect, as the supervisor says."""
    return PeerPolicy(
        uids=frozenset(order.peer_uids),
        gids=frozenset(order.peer_gids),
        anybody=not order.check_peers,
    )


class Admission:
    """A policy for a listener, which may change; who is turned away is reported."""

    def __init__(self, policy: PeerPolicy, report: Report) -> None:
        self.policy = policy
        self._report = report

    def accept(self, listener: socket.socket) -> socket.socket | None:
        """The next connection, None if there is none or it is refused."""
        try:
            sock, _ = listener.accept()
        except OSError:
            return None  # it went away again, or we are out of descriptors
        peer = peer_of(sock)
        if not self.policy.permits(peer):
            self._report("client-refused", str(peer))
            sock.close()
            return None
        return sock
