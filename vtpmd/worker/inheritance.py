"""The connections of a worker that has crashed, with which this one goes on."""

import contextlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from vtpmd.linux.descriptors import close_fds

from .progress import Progress, Step, owed


@dataclass(frozen=True)
class Inheritance:
    """QEMU's connections, of which the first is its control connection, and what it waits for.

    `data` is None where nobody can know whether QEMU waits for an answer on it: then it is shut
    down. `again`: the control request that is owed has ended one worker already.
    """

    control: socket.socket
    data: socket.socket | None
    progress: Progress
    owes_control: bool
    owes_data: bool
    again: bool


def inherited(fds: Sequence[int]) -> Inheritance | None:
    """What came with an order to serve as `Bequest` has it; None if nobody can go on with it.

    The descriptors are this function's.
    """
    *ends, file = fds
    connections = list[socket.socket]()
    try:
        connections += [socket.socket(fileno=fd) for fd in ends]
        control, data = connections
        inheritance = _judged(control, data, Progress(file))
    except (OSError, ValueError):
        inheritance = None
    finally:
        os.close(file)
    if inheritance is None:
        for each in connections:
            _end(each)
        close_fds(ends[len(connections) :])
    return inheritance


def _judged(control: socket.socket, data: socket.socket, progress: Progress) -> Inheritance | None:
    again = progress.control[0] == Step.REPEATING
    if not progress.known or (owes_control := owed(progress.control[0], control)) is None:
        return None
    owes_data = owed(progress.data[0], data)
    if owes_data is None:
        _end(data)
        return Inheritance(control, None, progress, owes_control, False, again)
    return Inheritance(control, data, progress, owes_control, owes_data, again)


def _end(sock: socket.socket) -> None:
    """Let whoever waits at the other end find out, whoever else has this end open."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
