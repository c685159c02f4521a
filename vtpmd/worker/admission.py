"""Connections that come in: accepted if their user may be there."""

import socket

from vtpmd.linux.peers import PeerPolicy, peer_of

from .execution import Report


class Admission:
    """A policy for a listener; who is turned away is reported."""

    def __init__(self, policy: PeerPolicy, report: Report) -> None:
        self._policy = policy
        self._report = report

    def accept(self, listener: socket.socket) -> socket.socket | None:
        """The next connection, None if there is none or it is refused."""
        try:
            sock, _ = listener.accept()
        except OSError:
            return None  # it went away again, or we are out of descriptors
        peer = peer_of(sock)
        if not self._policy.permits(peer):
            self._report("client-refused", str(peer))
            sock.close()
            return None
        return sock
