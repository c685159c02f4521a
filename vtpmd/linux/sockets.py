"""Listening sockets in the runtime directory: made atomically, replaced only when stale."""

import os
import secrets
import socket
import stat
from pathlib import Path

from . import acl
from .errors import InUseError

BACKLOG = 64


def listen(
    path: Path,
    *,
    mode: int,
    owner: int | None = None,
    group: int | None = None,
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> socket.socket:
    """A non-blocking listener at `path`, which appears with its mode and owner in one step.

    Raises InUseError when somebody listens there, OSError when something else is in the way.
    """
    clear(path, kind)
    temporary = path.parent / f".{secrets.token_hex(4)}"
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        sock.setblocking(False)
        sock.bind(bytes(temporary))
        try:
            grant(temporary, mode, owner, group)
            sock.listen(BACKLOG)
            temporary.rename(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError:
        sock.close()
        raise
    return sock


def grant(path: Path, mode: int, owner: int | None, group: int | None) -> None:
    """Let `owner` and `group` connect, as `mode` says; None leaves the owner or group as it is.

    Who may not give a file away shares it instead, by an access control list. Raises OSError.
    """
    numbers = [-1 if number is None else number for number in (owner, group)]
    try:
        os.chown(path, *numbers, follow_symlinks=False)
    except PermissionError:
        acl.share(path, mode, owner, group)
    else:
        acl.remove(path)
        path.chmod(mode)


def grant_anew(path: Path, mode: int, owner: int | None, group: int | None) -> None:
    """Let others connect than until now, as `grant`; who is connected stays so."""
    os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
    grant(path, mode, owner, group)


def clear(path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
    """Remove the socket a dead process left at `path`. Raises as `listen` does."""
    try:
        found = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found):
        raise FileExistsError(f"{path} exists and is not a socket")
    if is_listening(path, kind):
        raise InUseError(f"another process listens on {path}")
    path.unlink(missing_ok=True)


def is_listening(path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    """Whether some process would accept a connection to `path`."""
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        try:
            probe.connect(bytes(path))
        except BlockingIOError:
            return True  # its backlog is full
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True
