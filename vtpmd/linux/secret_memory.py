"""Memory of which no other process, and the kernel itself, has a mapping (memfd_secret(2)).

Linux 5.14 and later, where the administrator has not switched it off (secretmem.enable=0). It is
never swapped out. A host with such memory in use is not suspended to disk.
"""

import ctypes
import mmap
import os
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_MEMFD_SECRET: Final = 447  # on every architecture


def _file() -> int:
    """The descriptor of a new empty file of such memory. Raises OSError."""
    fd = int(_libc.syscall(_MEMFD_SECRET, os.O_CLOEXEC))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def demand() -> None:
    """Raise OSError where the kernel has no such memory for this process."""
    os.close(_file())


class SecretMemory:
    """So many places of `size` octets each. Raises OSError."""

    def __init__(self, places: int, size: int) -> None:
        self.size = size
        fd = _file()
        try:
            os.ftruncate(fd, places * size)
            self._memory = mmap.mmap(fd, places * size)
        except ValueError as error:
            raise OSError(str(error)) from None
        finally:
            os.close(fd)
        self._free = list(range(places - 1, -1, -1))

    def put(self, secret: bytearray) -> int | None:
        """Move a secret here, so that `secret` is wiped; its place. None if there is no room."""
        if len(secret) != self.size or not self._free:
            return None
        place = self._free.pop()
        self._memory[self._slice(place)] = secret
        secret[:] = bytes(self.size)
        return place

    def copy(self, place: int, into: bytearray) -> None:
        """Copy what lies there."""
        with memoryview(self._memory) as memory:
            into[:] = memory[self._slice(place)]

    def free(self, place: int) -> None:
        """Wipe what lies there."""
        self._memory[self._slice(place)] = bytes(self.size)
        self._free.append(place)

    def _slice(self, place: int) -> slice:
        return slice(place * self.size, (place + 1) * self.size)
