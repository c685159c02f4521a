"""How far a worker is with what QEMU waits for, noted where another process finds it.

A file in memory of `PROGRESS_SIZE` octets: a version, a step each for the data and the control
connection, the locality, and the control request itself, its length before it. QEMU sends one
request at a time on each and waits for the answer, without a limit. So whoever goes on with its
connections after a crash has to know whether an answer is owed:

| step | is so | then |
|---|---|---|
| idle | an answer is sent, until the next request | nothing is owed |
| taking | a request is about to be taken, or was taken | owed, unless it can still be read |
| repeating | the same, of a control request that ended one worker already | the same |
| amid | a part of a request was taken, or a part of an answer sent | nobody can know |

Where nobody can know, the connection is shut down, which frees QEMU. A worker that is killed in the
fraction of a microsecond between idle and sending leaves QEMU waiting until the instance is
stopped. To note it after sending would be worse, for who reads the answer often runs before its
sender goes on; docs/ARCHITECTURE.md has it at length.
"""

import mmap
import select
import socket
from enum import IntEnum
from typing import Final

from vtpmd.ipc.messages import PROGRESS_SIZE
from vtpmd.swtpm.table import MAX_LOCALITY

VERSION: Final = 1
_VERSION_AT, _DATA_AT, _CONTROL_AT, _LOCALITY_AT, _LENGTH_AT, _REQUEST_AT = range(6)
MAX_REQUEST: Final = PROGRESS_SIZE - _REQUEST_AT
"""More octets than any control request has that is no stream."""


class Step(IntEnum):
    """How far one request is."""

    IDLE = 0
    TAKING = 1
    AMID = 2
    REPEATING = 3


Place = memoryview
"""Where the step of one connection stands, as its only octet."""


class Progress:
    """Maps the file `fd`, which stays the caller's. Raises OSError, ValueError."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, PROGRESS_SIZE)
        view = memoryview(self._memory)
        self.data: Place = view[_DATA_AT : _DATA_AT + 1]
        self.control: Place = view[_CONTROL_AT : _CONTROL_AT + 1]

    def begin(self) -> None:
        """Begin to note."""
        self._memory[:] = bytes(PROGRESS_SIZE)
        self._memory[_VERSION_AT] = VERSION

    @property
    def known(self) -> bool:
        """Whether what is noted is of a version that we know."""
        return self._memory[_VERSION_AT] == VERSION

    @property
    def locality(self) -> int:
        """What QEMU has set, and does not tell again; never beyond MAX_LOCALITY."""
        return min(self._memory[_LOCALITY_AT], MAX_LOCALITY)

    @locality.setter
    def locality(self, locality: int) -> None:
        self._memory[_LOCALITY_AT] = locality

    @property
    def request(self) -> bytes:
        """The control request that is about to be taken, or was taken last."""
        length = min(self._memory[_LENGTH_AT], MAX_REQUEST)
        return self._memory[_REQUEST_AT : _REQUEST_AT + length]

    @request.setter
    def request(self, octets: bytes) -> None:
        self._memory[_LENGTH_AT] = len(octets)
        self._memory[_REQUEST_AT : _REQUEST_AT + len(octets)] = octets


def nowhere() -> Place:
    """A place that nobody looks at, for connections that nobody goes on with."""
    return memoryview(bytearray(1))


def owed(step: int, sock: socket.socket) -> bool | None:
    """Whether QEMU waits for an answer on this connection of a crashed worker.

    None if nobody can know.
    """
    match step:
        case Step.IDLE:
            return False
        case Step.TAKING | Step.REPEATING:
            poller = select.poll()
            poller.register(sock, select.POLLIN)
            return not poller.poll(0)
    return None
