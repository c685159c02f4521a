"""Acting as other users of the host, which takes root."""

import os
import socket
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

as_root = pytest.mark.skipif(os.getuid() != 0, reason="changing the user takes root")
REFUSED = (PermissionError, ConnectionResetError, BrokenPipeError)
GET_CAPABILITY = bytes([0, 0, 0, 1])


def act_as(
    user: int, act: Callable[[], object], groups: Sequence[int] = (), directory: Path | None = None
) -> bool:
    """Whether `act` returns something true in a process of this user, its own group and `groups`.

    It is in `directory`, which the user need not be able to reach by its path.
    """
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            if directory is not None:
                os.chdir(directory)
            os.setgroups(groups)
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            status = 0 if act() else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 1)
    return status == 0


def served(path: Path) -> bool:
    """Whether whoever connects to a control socket gets an answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        try:
            client.connect(bytes(path))
            client.sendall(GET_CAPABILITY)
            return bool(client.recv(100))
        except REFUSED:
            return False


def reached(path: Path) -> bool:
    """Whether the kernel lets this process connect."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(bytes(path))
        except REFUSED:
            return False
    return True
