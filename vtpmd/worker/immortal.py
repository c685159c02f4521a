"""Objects whose references are not counted any more, so that their pages stay shared (PEP 683).

CPython 3.12 and 3.13 leave a count alone whose lower half is all ones. Earlier ones count all
references, and those workers write to the pages of whatever they look at.
"""

import ctypes
import gc
import struct
import sys

_IMMORTAL = 0xFFFFFFFF
_KNOWN = (3, 12), (3, 13)


def supported() -> bool:
    """Whether this interpreter has immortal objects as they are known here."""
    return (
        sys.implementation.name == "cpython"
        and sys.version_info[:2] in _KNOWN
        and struct.calcsize("P") == 8
        and getattr(sys, "_is_gil_enabled", lambda: True)()
        and not hasattr(sys, "gettotalrefcount")
    )


def immortalise() -> None:
    """Make everything that is reachable immortal: none of it is ever freed."""
    waiting = gc.get_objects()
    found = {}  # made now, it is not among them
    while waiting:
        each = waiting.pop()
        if id(each) not in found:
            found[id(each)] = each
            waiting += gc.get_referents(each)
    for address in found:
        ctypes.c_uint32.from_address(address).value = _IMMORTAL
