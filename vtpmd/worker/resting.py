"""Going to sleep: a TPM that nobody uses is given to the keeper, and this process ends.

`Resting` is a part of the loop. As in a succession nothing is served once the state is sealed, and
if the keeper ends before it says that it has it all, or takes too long, this worker goes on. What
is stored by then is a TPM whose machine has shut it down in order, so that a host which goes down
has cut nobody off.
"""

import os
import socket
import time
from collections.abc import Sequence

from vtpmd.ipc.channel import Channel
from vtpmd.ipc.last_word import answered
from vtpmd.ipc.messages import GiveBack
from vtpmd.ipc.rules import Side, State
from vtpmd.linux.descriptors import close_fds
from vtpmd.storage.errors import EnvelopeError, StorageError

from . import serving_lock
from .bequest import Bequest
from .estate import Estate
from .giving_way import GivingWay
from .loop import Loop
from .supervision import Supervision

PATIENCE = 2.0
"""Seconds that a keeper has to say that it has a TPM; nobody serves its machine meanwhile."""


class Resting:
    """Gives the `estate` to the keeper; without one this worker stays awake."""

    def __init__(
        self,
        loop: Loop,
        estate: Estate,
        supervision: Supervision,
        giving_way: GivingWay,
        bequest: Bequest,
    ) -> None:
        self._loop = loop
        self._estate = estate
        self._supervision = supervision
        self._giving_way = giving_way
        self._bequest = bequest
        self._channel: Channel | None = None
        self._memory = -1
        self._idle = 0.0
        self._not_before = 0.0
        self.done = False
        """Whether the keeper has it."""

    def use(self, fds: Sequence[int], idle: int) -> None:
        """Use the keeper at the other end of a fresh channel, as `UseKeeper` passes it."""
        channel, memory, progress = fds
        try:
            sock = socket.socket(fileno=channel)
        except OSError:
            close_fds(list(fds))
            return
        self.keep(Channel(sock, Side.SUCCESSOR, State.SUCCEEDED), memory, progress, idle)

    def keep(self, channel: Channel, memory: int, progress: int, idle: int) -> None:
        """Use the keeper on this channel, and the files in memory for what is sealed and noted."""
        self._forget()
        self._bequest.use(channel, progress)
        self._channel, self._memory, self._idle = channel, memory, idle / 1000
        self._not_before = time.monotonic() + self._idle

    @property
    def deadline(self) -> float | None:
        if self._channel is None or not self._idle:
            return None
        heard = max(self._estate.last_heard, self._supervision.last_heard)
        return max(self._not_before, heard + self._idle)

    def tick(self, now: float) -> None:
        """Rest if nobody has said anything for long enough, nor says anything now."""
        deadline = self.deadline
        if self._channel is None or deadline is None or now < deadline:
            return
        self._not_before = now + self._idle  # or later, if it is refused
        if self._estate.busy or self._estate.awaited or self._supervision.awaited:
            return
        if self._giving_way.asked or self._estate.refusal():
            return
        self._rest(self._channel)

    def _rest(self, channel: Channel) -> None:
        try:
            self._estate.lay_down()
            succession, fds = self._estate.seal(self._memory)
        except (StorageError, EnvelopeError, OSError, ValueError):
            return  # awake is no worse than asleep
        message = GiveBack(
            succession.order,
            succession.data,
            round(self._idle * 1000),
            due=self._estate.due,
            machine=self._estate.machine,
        )
        if not answered(channel, message, [self._memory, *fds], PATIENCE):
            self._forget()
            self._supervision.report("keeper-lost", "it did not say that it has the TPM")
            return
        serving_lock.let_go()
        self.done = True
        self._loop.end()

    def _forget(self) -> None:
        self._bequest.lose()
        if self._channel is not None:
            self._channel.close()
            os.close(self._memory)
        self._channel, self._memory = None, -1
