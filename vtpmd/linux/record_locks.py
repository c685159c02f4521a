"""Record locks of fcntl(2): the kernel tells everybody which process has one."""

import fcntl
import os
import struct

_FLOCK = struct.Struct("@hhqqi0q")  # struct flock of fcntl(2): type, whence, start, length, pid


def lock_holder(fd: int) -> int | None:
    """The process that holds a lock on this file, None if none but this does. Raises OSError."""
    question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, question))
    return None if kind == fcntl.F_UNLCK else pid
