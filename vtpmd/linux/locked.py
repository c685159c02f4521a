"""Memory that is never swapped out."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)


def lock(secret: bytearray) -> None:
    """Keep the pages of a secret in memory (mlock(2)), as long as this process lives.

    Raises OSError, as a rule because of RLIMIT_MEMLOCK.
    """
    buffer = (ctypes.c_char * len(secret)).from_buffer(secret)
    address = ctypes.c_void_p(ctypes.addressof(buffer))
    if _libc.mlock(address, ctypes.c_size_t(len(secret))):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
