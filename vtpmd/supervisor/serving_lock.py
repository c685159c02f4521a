"""The serving lock: by the kernel's word, which process serves an instance.

A record lock of fcntl(2) belongs to one process, ends with it, and the kernel tells everybody whose
it is. The supervisor makes the file, in a directory that is its own, and hands a descriptor to the
zygote with the order to fork a worker, which locks it before it reads anything. A worker that a
guest has taken over has no descriptor of another instance's lock, and its sandbox lets it neither
open nor lock one. What this does not keep out is a process of the daemon's own user that is not
confined: that one could as well read the daemon's files.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vtpmd.linux.record_locks import lock_holder


def lock_path(adoption: Path) -> Path:
    """The lock of the instance whose worker listens on `adoption`."""
    return adoption.with_suffix(".lock")


@contextmanager
def created(adoption: Path) -> Iterator[int]:
    """A fresh lock, which nobody holds: its descriptor, open for reading. Raises OSError."""
    path = lock_path(adoption)
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def joined(adoption: Path) -> Iterator[int]:
    """The lock that a worker holds, for one that goes on in its place. Raises OSError."""
    path = lock_path(adoption)
    fd = os.open(path, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def holder(adoption: Path) -> int | None:
    """The process that holds the lock, None if there is none. Raises OSError."""
    fd = os.open(lock_path(adoption), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return lock_holder(fd)
    finally:
        os.close(fd)


def clear(adoption: Path) -> None:
    """Remove the lock, unless a worker that nobody could reach still holds it."""
    with suppress(OSError):
        if holder(adoption) is None:
            lock_path(adoption).unlink()
