"""Small files that a crash leaves either old or new.

What is written goes to a temporary file, is made durable there, takes the place of the old file and
is made durable as such.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .files import storage_error
from .temporary import create_locked, remove_leftovers


def write_file(
    dir_fd: int, name: str, data: bytes | bytearray, *, durable_name: bool = True
) -> None:
    """Replace or create `name` (mode 0600) and return when that is durable.

    Without `durable_name` only what is in it is durable: for a directory that nobody knows yet, and
    that is made durable before anybody does. Raises StorageError `full` or `failed`. The old file
    is then still in place, unless making the directory durable failed: then it is one or the other,
    whole.
    """
    _write(dir_fd, name, data, replace=True, durable_name=durable_name)


def create_file(dir_fd: int, name: str, data: bytes | bytearray) -> None:
    """Like `write_file`, but raises StorageError `exists` if there is such a file already."""
    _write(dir_fd, name, data, replace=False)


def remove_file(dir_fd: int, name: str) -> None:
    """Remove `name` and return when that is durable; it is no error if it does not exist.

    Raises StorageError.
    """
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=dir_fd)
            os.fsync(dir_fd)
    except OSError as error:
        raise storage_error(f"remove {name}", error) from None


@contextmanager
def published(dir_fd: int, name: str, *, replace: bool, durable_name: bool = True) -> Iterator[int]:
    """A new file, to be filled by its descriptor; it gets its name when the body has succeeded.

    All of that is durable afterwards, or as `write_file` says. What a crash left unfinished earlier
    is cleared away. Raises StorageError, `exists` unless it is to `replace` what is there.
    """
    remove_leftovers(dir_fd)
    try:
        temporary, fd = create_locked(dir_fd)
        try:
            yield fd
            os.fsync(fd)
            if replace:
                os.replace(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            else:
                os.link(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
                os.unlink(temporary, dir_fd=dir_fd)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=dir_fd)
            raise
        finally:
            os.close(fd)
        if durable_name:
            os.fsync(dir_fd)
    except OSError as error:
        raise storage_error(f"write {name}", error) from None


def write_all(fd: int, data: bytes | bytearray, offset: int = 0) -> None:
    """Write all of `data` at `offset`. Raises OSError."""
    with memoryview(data) as view:
        written = 0
        while written < len(data):
            written += os.pwrite(fd, view[written:], offset + written)


def _write(
    dir_fd: int,
    name: str,
    data: bytes | bytearray,
    *,
    replace: bool,
    durable_name: bool = True,
) -> None:
    with published(dir_fd, name, replace=replace, durable_name=durable_name) as fd:
        write_all(fd, data)
