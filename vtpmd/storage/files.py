"""Opening files and directories that nobody else can have tampered with."""

import errno
import os
import stat
from pathlib import Path

from .errors import StorageError, StorageKind

_KINDS: dict[int, StorageKind] = {
    errno.ENOENT: "missing",
    errno.EEXIST: "exists",
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EFBIG: "full",
    errno.ELOOP: "unsafe",
    errno.ENOTDIR: "unsafe",
    errno.EISDIR: "unsafe",
}
# What the system's words do not say of files that are opened with O_NOFOLLOW.
_WORDS = {
    errno.ELOOP: "it is a symbolic link, which is not followed",
    errno.ENOTDIR: "it is no directory, or a symbolic link, which is not followed",
}
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not block us
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS_MAY_WRITE = 0o022
_ALL_MAY_WRITE = 0o002


def storage_error(action: str, error: OSError) -> StorageError:
    """The StorageError for `error`, met while doing `action` ("write nvram")."""
    number = error.errno or 0
    kind = _KINDS.get(number, "failed")
    return StorageError(kind, f"cannot {action}: {_WORDS.get(number, error.strerror or error)}")


def open_directory(
    path: str | Path, dir_fd: int | None = None, *, group_may_write: bool = False
) -> int:
    """Open a directory and return its descriptor, which the caller closes.

    Raises StorageError: `missing`; `unsafe` if it is a symbolic link or no directory, belongs
    to neither this user nor root, or others may write to it, of whom `group_may_write` excepts the
    group.
    """
    try:
        fd = os.open(path, _DIRECTORY, dir_fd=dir_fd)
    except OSError as error:
        raise storage_error(f"open directory {path}", error) from None
    forbidden = _ALL_MAY_WRITE if group_may_write else _OTHERS_MAY_WRITE
    return _checked(fd, str(path), forbidden)


def open_file(
    path: str | Path,
    dir_fd: int | None = None,
    *,
    writable: bool = False,
    forbidden: int = _OTHERS_MAY_WRITE,
) -> int:
    """Open a regular file and return its descriptor, which the caller closes.

    Raises StorageError: `missing`; `unsafe` if it is a symbolic link or not a regular file,
    belongs to neither this user nor root, or has one of the `forbidden` mode bits.
    """
    try:
        fd = os.open(path, _READ | (os.O_RDWR if writable else 0), dir_fd=dir_fd)
    except OSError as error:
        raise storage_error(f"{'open' if writable else 'read'} {path}", error) from None
    return _checked(fd, str(path), forbidden, regular=True)


def read_file(
    path: str | Path, limit: int, dir_fd: int | None = None, forbidden: int = _OTHERS_MAY_WRITE
) -> bytes:
    """Return the whole content of a regular file of at most `limit` bytes.

    Raises StorageError: `missing`; `unsafe` if it is a symbolic link or not a regular file,
    belongs to neither this user nor root, has one of the `forbidden` mode bits or is too large.
    """
    fd = open_file(path, dir_fd, forbidden=forbidden)
    try:
        data = _read_all(fd, limit + 1)
    except OSError as error:
        raise storage_error(f"read {path}", error) from None
    finally:
        os.close(fd)
    if len(data) > limit:
        raise StorageError("unsafe", f"cannot read {path}: it has more than {limit} bytes")
    return data


def _read_all(fd: int, limit: int) -> bytes:
    parts = []
    while limit and (part := os.read(fd, limit)):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def _checked(fd: int, path: str, forbidden: int, regular: bool = False) -> int:
    status = os.fstat(fd)
    permissions = stat.S_IMODE(status.st_mode)
    fault = None
    if regular and not stat.S_ISREG(status.st_mode):
        fault = "is not a regular file"
    elif status.st_uid not in (os.geteuid(), 0):
        fault = (
            f"belongs to user {status.st_uid}, neither to this user nor to root; "
            "give it to one of them with chown"
        )
    elif permissions & forbidden:
        fault = f"has mode {permissions:04o}; take {permissions & forbidden:04o} away with chmod"
    if fault is not None:
        os.close(fd)
        raise StorageError("unsafe", f"{path} {fault}")
    return fd
