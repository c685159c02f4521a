"""Who is at the other end of a Unix socket, and whether the admin socket is for them."""

import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass

_UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


@dataclass(frozen=True)
class Peer:
    """The credentials the kernel noted when the peer connected."""

    pid: int
    uid: int
    gid: int

    @classmethod
    def of(cls, sock: socket.socket) -> "Peer":
        """The peer of a connected Unix socket."""
        return cls(*_UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))


def is_admin(peer: Peer, group: str | None) -> bool:
    """Whether `peer` is root, the daemon's own user, or in `group` (primary or supplementary)."""
    if peer.uid in (0, os.geteuid()):
        return True
    if group is None:
        return False
    try:
        wanted = grp.getgrnam(group).gr_gid
        user = pwd.getpwuid(peer.uid).pw_name
    except KeyError:
        return False
    return peer.gid == wanted or wanted in os.getgrouplist(user, peer.gid)
