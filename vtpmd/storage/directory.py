"""Directories: the lock of the state directory, making and removing one per instance."""

import fcntl
import os
from contextlib import suppress
from typing import Self

from .errors import DirectoryLockedError, StorageError
from .files import open_directory, storage_error

NVRAM, VOLATILE, META = "nvram", "volatile", "meta.json"
"""The files of an instance: permanent state, volatile state (both envelopes), public metadata."""
INSTANCES, KEYRING, LOCK = "instances", "keyring", "lock"
"""What the state directory holds: one directory per instance UUID, the default keyring, the lock"""

_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class DirectoryLock:
    """Exclusive use of a directory until `close` or the end of the process.

    Raises DirectoryLockedError if another process holds it, StorageError if it cannot be locked.
    """

    def __init__(self, dir_fd: int) -> None:
        try:
            self._fd = os.open(LOCK, _LOCK_FLAGS, 0o600, dir_fd=dir_fd)
        except OSError as error:
            raise storage_error("open the lock file", error) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 20, 0).strip()
            os.close(self._fd)
            raise DirectoryLockedError(int(holder) if holder.isdigit() else None) from None
        except OSError as error:
            os.close(self._fd)
            raise storage_error("lock the directory", error) from None
        with suppress(OSError):  # a full disk: the lock holds, nobody is told by whom
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def close(self) -> None:
        """Release the lock; the file stays, for another process may be waiting on it."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_directory(name: str, dir_fd: int) -> int:
    """Create directory `name` (mode 0700), durable, and return a descriptor of it.

    Raises StorageError `exists`, `full` or `failed`.
    """
    try:
        os.mkdir(name, 0o700, dir_fd=dir_fd)
        os.fsync(dir_fd)
    except OSError as error:
        raise storage_error(f"create directory {name}", error) from None
    return open_directory(name, dir_fd)


def remove_directory(name: str, dir_fd: int) -> None:
    """Remove directory `name` with the files in it; returns when that is durable.

    Raises StorageError `missing`, or `unsafe` if it is a link or holds further directories.
    """
    fd = open_directory(name, dir_fd)
    try:
        with os.scandir(fd) as scan:
            entries = list(scan)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                raise StorageError("unsafe", f"cannot remove {name}: {entry.name} is a directory")
        for entry in entries:
            os.unlink(entry.name, dir_fd=fd)
        os.rmdir(name, dir_fd=dir_fd)
        os.fsync(dir_fd)
    except OSError as error:
        raise storage_error(f"remove directory {name}", error) from None
    finally:
        os.close(fd)
