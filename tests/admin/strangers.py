"""Connections of users without rights: only root can become somebody else."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

STRANGER = 54321
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Where every user may connect to a socket."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o711)
        yield Path(directory)


def connect_as(path: Path, user: int, group: int | None = None) -> socket.socket:
    """A connection that the kernel takes for the user's."""
    sock = socket.socket(socket.AF_UNIX)
    ours = os.geteuid(), os.getegid()
    os.setegid(user if group is None else group)
    os.seteuid(user)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    finally:
        os.seteuid(ours[0])
        os.setegid(ours[1])
    return sock
