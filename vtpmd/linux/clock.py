"""Whether the kernel knows its clock to be right: adjtimex(2), which needs no privilege to look."""

import ctypes
import os
from typing import Final

_SIZE: Final = 256
"""More than a struct timex has on any architecture; all zero, it changes nothing."""
_TIME_ERROR: Final = 5

_libc = ctypes.CDLL(None, use_errno=True)


def synchronised() -> bool:
    """Whether somebody, such as an NTP client, keeps the clock right. Raises OSError."""
    state: int = _libc.adjtimex(ctypes.create_string_buffer(_SIZE))
    if state < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return state != _TIME_ERROR
