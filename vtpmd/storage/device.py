"""What a state file is written to: octets at offsets, durable when a write returns.

System calls, for a sandbox: fstat, pread64, pwritev2, fallocate; pwrite64 where a write was short,
with fdatasync where the file system refuses synced writes. Where it knows no fallocate (NFS before
4.2), the C library takes fcntl (F_GETFL), fstatfs, pread64 and pwrite64 in its place.
"""

import errno
import os
import stat
from typing import Protocol

from .errors import StorageError

_ATTEMPTS = 3
_NO_SYNCED_WRITES = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


class Device(Protocol):
    """Octets at offsets. Everything raises OSError where the system does."""

    def size(self) -> int:
        """How many octets there are, holes included."""

    def read(self, offset: int, size: int) -> bytes:
        """As many of `size` octets from `offset` on as there are."""

    def write(self, offset: int, data: bytes) -> None:
        """Write `data` and return when all of it is durable; on OSError any of it may be."""

    def allocate(self, offset: int, size: int) -> None:
        """Make sure that writes within `size` octets from `offset` on find their space."""


class FileDevice:
    """A regular file by its open descriptor, which stays the caller's.

    Raises StorageError `unsafe` for anything but a regular file.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._synced_writes = True
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StorageError("unsafe", "the state file is not a regular file")

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        parts = []
        while size and (part := os.pread(self._fd, size, offset)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        for _ in range(_ATTEMPTS):
            written = self._write_once(offset, data)
            if written == len(data):
                return
            # What is missing tells why: no space, as a rule. If it can be written after all, the
            # whole is written again, so that one synced write made all of it durable.
            os.pwrite(self._fd, data[written:], offset + written)
        raise OSError(errno.EIO, "only a part is written each time")

    def allocate(self, offset: int, size: int) -> None:
        os.posix_fallocate(self._fd, offset, size)

    def _write_once(self, offset: int, data: bytes) -> int:
        if self._synced_writes:
            try:
                return os.pwritev(self._fd, [data], offset, os.RWF_DSYNC)
            except OSError as error:
                if error.errno not in _NO_SYNCED_WRITES:
                    raise
                self._synced_writes = False
        written = os.pwrite(self._fd, data, offset)
        os.fdatasync(self._fd)
        return written
