"""The predecessor's end of a succession: it serves until its successor is prepared, then ends.

`GivingWay` is a part of the loop. While it hands the TPM over it blocks: nothing is served after
the state is sealed, and if the successor ends before it has said that it serves, or takes too long,
this worker goes on as if nothing had been, for sealing changes nothing. A successor that is late
finds nobody who hears it, and the serving lock held: then it ends.
"""

import contextlib
import os
import selectors
import socket
from collections.abc import Sequence
from typing import Protocol

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.last_word import answered
from vtpmd.ipc.messages import Detained, Succession
from vtpmd.ipc.rules import Side, State
from vtpmd.linux.descriptors import close_fds

from . import serving_lock
from .loop import Loop
from .sources import now

PATIENCE = 10_000
"""Milliseconds within which a prepared successor gets the TPM, or is told why it does not."""

_ANSWER = 5.0
"""Seconds within which a successor says that it serves; nobody does meanwhile."""


class Estate(Protocol):
    """What there is to hand over: see `estate`."""

    @property
    def busy(self) -> str: ...
    def refusal(self) -> str: ...
    def seal(self, fd: int) -> tuple[Succession, Sequence[int]]: ...


class GivingWay:
    """Hands over the `estate` as soon as it is wanted and no client is busy."""

    def __init__(self, loop: Loop, estate: Estate) -> None:
        self._loop = loop
        self._estate = estate
        self._channel: Channel | None = None
        self._memory = -1
        self._given_up: int | None = None  # when a prepared successor is told that it is too late
        self.done = False
        """Whether another worker serves now."""

    @property
    def asked(self) -> bool:
        """Whether a successor is waited for, or told."""
        return self._channel is not None

    @property
    def deadline(self) -> float | None:
        return None if self._given_up is None else self._given_up / 1000

    def begin(self, fds: Sequence[int]) -> None:
        """Give way to who is at the other end of the channel, as `GiveWay` passes it."""
        self._cancel()
        channel, self._memory = fds
        try:
            sock = socket.socket(fileno=channel)
        except OSError:
            close_fds([channel])
            self._cancel()
            return
        sock.setblocking(False)
        self._channel = Channel(sock, Side.PREDECESSOR, State.AWAITED)
        self._channel.on_close = self._loop.forget
        self._loop.watch(self._channel, selectors.EVENT_READ, self._hear)

    def tick(self, _now: float) -> None:
        """Hand the TPM over if it is waited for and nothing is in the way."""
        if self._channel is None or self._given_up is None:
            return
        reason = self._estate.busy
        if reason and now() < self._given_up:
            return
        reason = reason or self._estate.refusal() or self._hand_over(self._channel)
        if self.done:
            return
        if reason:
            with contextlib.suppress(ChannelClosedError, IllegalMessageError, OSError):
                self._channel.send(Detained(reason))
        self._cancel()

    def _hear(self) -> None:
        assert self._channel is not None
        try:
            _, fds = self._channel.receive()
        except BlockingIOError:
            return
        except (ChannelClosedError, IllegalMessageError):
            self._cancel()
            return
        close_fds(fds)
        self._given_up = now() + PATIENCE

    def _hand_over(self, channel: Channel) -> str:
        """Let the successor go on, and wait for it to; why it can't, if that has a reason.

        The channel is closed when this process has let go of what only one may have.
        """
        try:
            succession, fds = self._estate.seal(self._memory)
        except (OSError, ValueError) as error:
            return f"what its TPM has in memory could not be sealed: {error}"
        if not answered(channel, succession, [self._memory, *fds], _ANSWER):
            return ""  # it has ended before it served
        serving_lock.let_go()
        channel.close()
        self.done = True
        self._loop.end()
        return ""

    def _cancel(self) -> None:
        """Forget the successor, whatever it waits for."""
        if self._channel is not None:
            self._channel.close()
        if self._memory >= 0:
            os.close(self._memory)
        self._channel, self._memory, self._given_up = None, -1, None
