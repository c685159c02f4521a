"""The beginning of a keeper that goes on where another one gives way."""

import fcntl
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.keepers import HandedOn, HandOn, KeeperPrepared, KeeperSucceeded
from vtpmd.ipc.rules import BEQUEST_FDS, Side, State
from vtpmd.ipc.version import Version
from vtpmd.linux.record_locks import lock_holder

from .deks import Deks
from .sleeper import Estate, Sleeper

_PATIENCE = 60.0
"""Seconds; the other keeper takes some of them while TPMs are being woken."""
_LETS_GO = 1.0  # seconds within which one that has ended holds its lock no more
_PAUSE = 0.01

Known = tuple[UUID, Sleeper, float | None]
"""One TPM, and when it is to be looked after, in monotonic seconds."""


@dataclass(frozen=True)
class Succession:
    """All that the other keeper had; `daemon`: the channel to that, if there is one."""

    listener: socket.socket
    lock: int
    known: Sequence[Known]
    daemon: Channel | None
    told: bool


def succeed(sock: socket.socket, deks: Deks) -> Succession | None:
    """What the keeper at the other end of `sock` had, which ends; None if that one goes on.

    Then this process has to end: what it was given was not touched.
    """
    channel = Channel(sock, Side.SUCCESSOR, State.KEEPER_AWAITED)
    channel.set_patience(_PATIENCE)
    known = list[Known]()
    try:
        channel.send(KeeperPrepared())
        message, fds = channel.receive()
        while isinstance(message, HandOn):
            known.append(_known(message, fds, deks))
            message, fds = channel.receive()
        if not isinstance(message, HandedOn) or message.kept != len(known):
            return None
        listener, lock, *daemon = fds
        fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        succession = Succession(
            socket.socket(fileno=listener),
            lock,
            known,
            _channel(daemon[0], Side.KEEPER, State.KEEPING, message.met) if daemon else None,
            message.told,
        )
    except (ChannelClosedError, IllegalMessageError, OSError, ValueError):
        return None
    try:
        channel.send(KeeperSucceeded())  # last: from then on it is ours
    except (ChannelClosedError, OSError):
        if not _gone(lock):
            succession.listener.close()
            return None
    channel.close()
    return succession


def _known(message: HandOn, fds: list[int], deks: Deks) -> Known:
    """One TPM that was handed on. Raises ValueError, also for descriptors that are missing."""
    lock, progress, *more = fds
    channel = None
    if message.worker:
        worker, *more = more
        channel = _channel(worker, Side.PREDECESSOR, State.SUCCEEDED, message.met)
    left = BEQUEST_FDS if message.bequest else 0
    bequest, more = more[:left], more[left:]
    if len(bequest) != left or bool(more) is not bool(message.order):
        raise ValueError("descriptors are missing")
    estate = None
    if message.order:
        (order,) = message.order
        estate = Estate(order, more, deks)
        estate.guard()
    due = time.monotonic() + message.due / 1000 if message.due else None
    sleeper = Sleeper(
        message.name,
        lock,
        progress,
        message.sandbox,
        channel,
        estate,
        failures=message.failures,
        bequest=bequest,
    )
    return message.uuid, sleeper, due


def _channel(fd: int, side: Side, state: State, met: tuple[int, ...]) -> Channel:
    """The other keeper's channel, where it was left. Raises ValueError."""
    if len(met) not in (0, 2):
        raise ValueError("a version has two numbers")
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return Channel(sock, side, state, greeted=True, met=Version(*met) if met else None)


def _gone(lock: int) -> bool:
    """Whether the other keeper has ended, which hears nothing more from us.

    One that has ended when it had handed on all lets its lock go within a moment.
    """
    end = time.monotonic() + _LETS_GO
    while lock_holder(lock) is not None:
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE)
    return True
