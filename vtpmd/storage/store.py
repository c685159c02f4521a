"""Files in one directory that a crash leaves either old or new, and a full disk leaves whole.

Every write goes to a temporary file, is made durable there, takes the place of the old file and is
made durable as such. A worker keeps the *next* temporary file preallocated (`reserve`): no space
is then noticed before a command runs, and never in the middle of one.

Temporary files have names of their own and are locked (flock) while they are in use: a store can
clear away what a crash left behind without touching what another process is about to write.

System calls, for a sandbox: openat, fstat, flock, getrandom, fallocate, pwrite64, ftruncate, fsync,
renameat, unlinkat, read, close; opening a store also lists the directory (getdents64, lseek). Where
the file system knows no fallocate (NFS before 4.2), the C library takes fcntl (F_GETFL), fstatfs,
pread64 and pwrite64 in its place.
"""

import os
from contextlib import suppress
from typing import Self

from .errors import StorageError
from .files import read_file, storage_error
from .record import MAX_SIZE as MAX_SIZE
from .record import with_headroom
from .temporary import create_locked, remove_leftovers


class Store:
    """The files of one directory.

    `dir_fd` is a readable descriptor of it (`files.open_directory`), which must stay open as
    long as the store is used and is not closed with it. Opening a store removes what an earlier
    process left half-written. Names are plain file names that do not begin with a dot.
    """

    def __init__(self, dir_fd: int) -> None:
        self._dir_fd = dir_fd
        self._spare: _Temporary | None = None
        self._reserved = 0
        self.shortage: str | None = None
        """Why the last `reserve` returned False."""
        remove_leftovers(dir_fd)

    def read(self, name: str) -> bytes:
        """Return the content of `name`; raises StorageError as `files.read_file` does."""
        return read_file(_plain(name), MAX_SIZE, dir_fd=self._dir_fd)

    def reserve(self, size: int) -> bool:
        """Make sure that a write of up to `size` bytes finds its space already allocated.

        Costs nothing while the spare is large enough. Returns False, with the reason in
        `shortage`, if there is no space; the next call tries again. From the first call on, every
        write allocates the next spare, as large as last asked for, when it is done.
        """
        self._reserved = size
        if self._spare is not None and size <= self._spare.capacity:
            self.shortage = None
            return True
        try:
            if self._spare is None:
                self._spare = _Temporary(self._dir_fd, with_headroom(size))
            else:
                self._spare.grow(with_headroom(size))
        except OSError as error:
            self.shortage = str(storage_error(f"reserve {size} bytes", error))
            return False
        self.shortage = None
        return True

    def write(self, name: str, data: bytes | bytearray) -> None:
        """Replace or create `name` (mode 0600) and return when that is durable.

        Raises StorageError: `full`; `failed` for everything else. The old file is then still in
        place, unless making the directory durable failed: then it is one or the other, whole.
        """
        self._write(name, data, replace=True)

    def create(self, name: str, data: bytes | bytearray) -> None:
        """Like `write`, but raises StorageError `exists` if there is such a file already."""
        self._write(name, data, replace=False)

    def remove(self, name: str) -> None:
        """Remove `name` and return when that is durable; it is no error if it does not exist."""
        try:
            os.unlink(_plain(name), dir_fd=self._dir_fd)
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error(f"remove {name}", error) from None
        self._make_durable(name)

    def close(self) -> None:
        """Give the reserved space back."""
        if self._spare is not None:
            self._spare.discard()
            self._spare = None
        self._reserved = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, name: str, data: bytes | bytearray, replace: bool) -> None:
        _plain(name)
        if len(data) > MAX_SIZE:
            raise StorageError("full", f"cannot write {name}: more than {MAX_SIZE} bytes")
        try:
            if self._spare is None:
                self._spare = _Temporary(self._dir_fd, len(data))
            self._spare.grow(len(data))
            temporary, self._spare = self._spare, None
            temporary.publish(name, data, replace)
        except OSError as error:
            raise storage_error(f"write {name}", error) from None
        self._make_durable(name)
        if self._reserved:
            self.reserve(self._reserved)

    def _make_durable(self, name: str) -> None:
        try:
            os.fsync(self._dir_fd)
        except OSError as error:
            raise storage_error(f"make the change of {name} durable", error) from None


class _Temporary:
    """An open, locked and preallocated file that becomes a stored one when it is complete."""

    def __init__(self, dir_fd: int, capacity: int) -> None:
        self._dir_fd = dir_fd
        self._name, self._fd = create_locked(dir_fd)
        self.capacity = 0
        try:
            self.grow(capacity)
        except OSError:
            self.discard()
            raise

    def grow(self, capacity: int) -> None:
        """Allocate up to `capacity` bytes; on OSError the capacity is what it was."""
        if capacity <= self.capacity:
            return
        try:
            os.posix_fallocate(self._fd, 0, capacity)
        except OSError:
            os.ftruncate(self._fd, self.capacity)
            raise
        self.capacity = capacity

    def publish(self, name: str, data: bytes | bytearray, replace: bool) -> None:
        """Fill the file, make it durable and give it its name; on OSError it is discarded."""
        here = self._dir_fd
        try:
            self._fill(data)
            if replace:
                os.replace(self._name, name, src_dir_fd=here, dst_dir_fd=here)
            else:
                os.link(self._name, name, src_dir_fd=here, dst_dir_fd=here)
                os.unlink(self._name, dir_fd=here)
        except OSError:
            self.discard()
            raise
        os.close(self._fd)

    def discard(self) -> None:
        """Remove the file; what cannot be removed is left for the next store to clear away."""
        with suppress(OSError):
            os.unlink(self._name, dir_fd=self._dir_fd)
        os.close(self._fd)

    def _fill(self, data: bytes | bytearray) -> None:
        with memoryview(data) as view:
            written = 0
            while written < len(data):
                written += os.pwrite(self._fd, view[written:], written)
        if len(data) != self.capacity:
            os.ftruncate(self._fd, len(data))
        os.fsync(self._fd)


def _plain(name: str) -> str:
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ValueError(f"not a plain file name: {name!r}")
    return name
