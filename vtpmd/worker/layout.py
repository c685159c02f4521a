"""Where in memory lies what workers write to, so that they share the pages of all the rest.

An interpreter that runs a function writes to its code object, for references are counted there, and
so each worker gets a page of its own for each function that it calls. Modules lie as they were
loaded: code that runs between code that never does. Here what runs is put side by side, and the
gaps are filled, so that what a worker makes lies side by side, too.
"""

import gc
import os
import sys
import threading
from array import array
from collections.abc import Callable, Set
from types import CodeType, FrameType, FunctionType

_POOL_SIZE, _POOL_HEADER = 1 << 14, 48
"""Octets of a pool of CPython's allocator, which is for objects of one size, and of its header."""
_SIZES = range(48, 513, 16)
_MAX_GAPS = 4096  # of one size; another allocator never begins such a pool
_EMPTY = sys.getsizeof(b"")

_kept: list[object] = []
"""What fills gaps, and code that there are copies of: freed, it would leave gaps."""


def scouted(run: Callable[[], object]) -> frozenset[int]:
    """The addresses of the code that `run` executes, in a process of its own, which ends then.

    None, if it fails. Raises OSError if there can be no such process.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb") as told:  # noqa: PTH123
        try:
            pid = os.fork()
            if not pid:
                try:
                    os.write(writer, array("Q", _executed(run)))
                finally:
                    os._exit(0)
        finally:
            os.close(writer)
        found = frozenset(array("Q", told.read()))
    os.waitpid(pid, 0)
    return found


def _executed(run: Callable[[], object]) -> Set[int]:
    found = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        found.add(id(frame.f_code))

    threading.setprofile(note)
    sys.setprofile(note)
    run()
    sys.setprofile(None)
    return found


def gather(addresses: Set[int]) -> None:
    """Let the functions whose code lies there have copies of it, which lie side by side.

    A copy has forgotten what the interpreter has learnt of its code, which has to be run again.
    """
    fill_gaps()
    copies: dict[int, CodeType] = {}

    def copy(code: CodeType) -> CodeType:
        if id(code) not in addresses:
            return code
        if id(code) not in copies:
            _kept.append(code)
            inner = (copy(each) if isinstance(each, CodeType) else each for each in code.co_consts)
            copies[id(code)] = code.replace(co_consts=tuple(inner))
        return copies[id(code)]

    for function in gc.get_objects():
        if isinstance(function, FunctionType):
            function.__code__ = copy(function.__code__)


def fill_gaps() -> None:
    """Fill what is free between objects: what is made from now on lies where nothing has been."""
    gc.collect()
    for size in _SIZES:
        for _ in range(_MAX_GAPS):
            _kept.append(filler := bytes(size - _EMPTY))
            if id(filler) % _POOL_SIZE == _POOL_HEADER:  # the first of a pool: all others are full
                break
