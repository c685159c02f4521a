"""Files in memory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

_F_ADD_SEALS = 1033
_SEALS = 0x1 | 0x2 | 0x4  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW


@contextmanager
def memory_file(name: str, size: int | None = None) -> Iterator[int]:
    """The descriptor of a new file in memory, which `name` tells from others. Raises OSError.

    With a `size` it has so many octets, all zero, for good: whoever maps it can count on them.
    """
    fixed = 0 if size is None else os.MFD_ALLOW_SEALING
    fd = os.memfd_create(name, os.MFD_CLOEXEC | fixed)
    try:
        if size is not None:
            os.ftruncate(fd, size)
            fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)
        yield fd
    finally:
        os.close(fd)
