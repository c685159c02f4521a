"""Directories: the lock of the state directory, making and removing others."""

import fcntl
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Self

from .errors import DirectoryLockedError, StorageError
from .files import open_directory, storage_error

INSTANCES, KEYRING, CA, LOCK, ANCHORS = "instances", "keyring", "ca", "lock", "anchors"
"""What the state directory holds: one directory per instance UUID, the default keyring, the own
authority with its ledger, the lock, and the anchors unless they are kept elsewhere."""

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


def ensure_directory(path: Path) -> int:
    """A descriptor of directory `path`, which is made (mode 0700) where it is missing, durably.

    So are those above it, with the mode that the umask leaves. Raises StorageError as
    `open_directory`.
    """
    try:
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for directory in reversed(missing):
            directory.mkdir(0o700 if directory == path else 0o777, exist_ok=True)
            parent = os.open(directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(parent)
            finally:
                os.close(parent)
    except OSError as error:
        raise storage_error(f"create {path}", error) from None
    return open_directory(path)


def make_directory(name: str, dir_fd: int, *, durable: bool = True) -> int:
    """Create directory `name` (mode 0700), durable, and return a descriptor of it.

    Without `durable` somebody else sees to that, before anybody else knows of it.
    Raises StorageError `exists`, `full` or `failed`.
    """
    try:
        os.mkdir(name, 0o700, dir_fd=dir_fd)
        if durable:
            os.fsync(dir_fd)
    except OSError as error:
        raise storage_error(f"create directory {name}", error) from None
    return open_directory(name, dir_fd)


def remove_directory(name: str, dir_fd: int, within: Collection[str] = ()) -> None:
    """Remove directory `name` with the files in it; returns when that is durable.

    Directories in it that are named `within` are removed likewise. Raises StorageError `missing`,
    or `unsafe` if it is a link or holds other directories.
    """
    fd = open_directory(name, dir_fd)
    try:
        with os.scandir(fd) as scan:
            directories = [entry.name for entry in scan if entry.is_dir(follow_symlinks=False)]
        if strange := sorted(set(directories) - set(within)):
            raise StorageError("unsafe", f"cannot remove {name}: {strange[0]} is a directory")
        for directory in directories:
            remove_directory(directory, fd)
        for file in os.listdir(fd):  # noqa: PTH208
            os.unlink(file, dir_fd=fd)
        os.rmdir(name, dir_fd=dir_fd)
        os.fsync(dir_fd)
    except OSError as error:
        raise storage_error(f"remove directory {name}", error) from None
    finally:
        os.close(fd)
