"""Who is at the other end of a Unix socket, and whether that user may be there."""

import os
import socket
import struct
from dataclasses import dataclass

CREDENTIALS = struct.Struct("=iII")  # struct ucred of unix(7): pid, uid, gid
_SO_PEERGROUPS = 59
_MAX_GROUPS = 256
_NO_PROCESS = 0


@dataclass(frozen=True)
class Peer:
    """The credentials the kernel noted when the peer connected; `gids` are all of its groups."""

    pid: int
    uid: int
    gids: frozenset[int]

    def __str__(self) -> str:
        if self.pid == _NO_PROCESS:  # over TCP, or in another PID namespace
            return "an unknown process"
        return f"process {self.pid} of user {self.uid}"


def is_owner(uid: int) -> bool:
    """Whether it is root or our own user, who may do everything anyway."""
    return uid in (0, os.geteuid())


@dataclass(frozen=True)
class PeerPolicy:
    """Root and our own user always may; others by user or by any of their groups."""

    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()
    anybody: bool = False

    def permits(self, peer: Peer) -> bool:
        return (
            self.anybody
            or is_owner(peer.uid)
            or peer.uid in self.uids
            or not self.gids.isdisjoint(peer.gids)
        )


def peer_of(sock: socket.socket) -> Peer:
    """The process that connected, as the kernel recorded it then."""
    pid, uid, gid = CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    )
    try:
        groups = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS * 4)
    except OSError:
        groups = b""  # more groups than we ask for: the primary one decides
    supplementary = struct.unpack(f"={len(groups) // 4}I", groups)
    return Peer(pid, uid, frozenset({gid, *supplementary}))
