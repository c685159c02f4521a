"""Making and opening state files: what is done beside a directory, by the supervisor alone."""

import os
from contextlib import suppress
from uuid import UUID

from .files import open_file, storage_error
from .record import HEAD_SIZE, Home, Record, Role, with_headroom
from .state_file import PLACE_SIZE
from .temporary import create_locked


def create_state_file(
    dir_fd: int,
    name: str,
    uuid: UUID,
    role: Role,
    content: bytes = b"",
    *,
    replace: bool = False,
) -> None:
    """Make state file `name` (mode 0600), empty or with `content` as its current record.

    Both places are written in full, with headroom, so that a save of about this size later
    overwrites what is allocated. The file gets its name when all of that is durable, and the
    function returns when the name is, too.

    Raises StorageError `exists` unless it is to `replace` what is there, `full` or `failed`;
    ValueError for more than MAX_SIZE octets.
    """
    extent = min(with_headroom(HEAD_SIZE + len(content)), PLACE_SIZE)
    records = Record(Home(uuid, role, 0), 1, content), Record(Home(uuid, role, 1), 0, b"")
    images = [record.encode().ljust(extent, b"\0") for record in records]
    try:
        temporary, fd = create_locked(dir_fd)
        try:
            for home, image in enumerate(images):
                _write_all(fd, image, home * PLACE_SIZE)
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
        os.fsync(dir_fd)
    except OSError as error:
        raise storage_error(f"create {name}", error) from None


def open_state_file(dir_fd: int, name: str, *, writable: bool = True) -> int:
    """Open state file `name`: a descriptor for FileDevice, which the caller closes or hands on.

    Raises StorageError: `missing`; `unsafe` if it is a symbolic link or not a regular file, belongs
    to neither this user nor root, or others may write to it.
    """
    return open_file(name, dir_fd, writable=writable)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    with memoryview(data) as view:
        written = 0
        while written < len(data):
            written += os.pwrite(fd, view[written:], offset + written)
