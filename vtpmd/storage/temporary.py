"""Temporary files that a crash leaves behind, and nobody mistakes for one that is in use.

They have names of their own and are locked (flock) while they are in use: what a crash left can be
cleared away without touching what another process is about to finish.
"""

import fcntl
import os

from .files import storage_error

_PREFIX, _SUFFIX = ".vtpmd-", ".tmp"
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LEFTOVER = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def remove_leftovers(dir_fd: int) -> None:
    """Remove the temporary files that no process has locked. Raises StorageError."""
    try:
        names = os.listdir(dir_fd)
    except OSError as error:
        raise storage_error("list the directory", error) from None
    for name in names:
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
            _remove_leftover(dir_fd, name)


def create_locked(dir_fd: int) -> tuple[str, int]:
    """Create a temporary file and lock it: its name and descriptor. Raises OSError."""
    while True:
        name = f"{_PREFIX}{os.urandom(8).hex()}{_SUFFIX}"
        fd = os.open(name, _CREATE, 0o600, dir_fd=dir_fd)
        try:
            if _lock(fd) and os.fstat(fd).st_nlink:
                return name, fd
        except OSError:
            os.close(fd)
            raise
        os.close(fd)  # taken for a leftover in the moment before it was locked


def _remove_leftover(dir_fd: int, name: str) -> None:
    try:
        fd = os.open(name, _LEFTOVER, dir_fd=dir_fd)
    except OSError:
        return  # gone meanwhile, or never a file of ours
    try:
        if _lock(fd):
            os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return  # no leftover: its owner has just finished it
    except OSError as error:
        raise storage_error(f"remove the unfinished file {name}", error) from None
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
