"""The end of a keeper: another one, of a new version, goes on with all that this one has.

It serves until nobody is being woken. Then it blocks: nothing is done once the first TPM is handed
on, and if the successor ends before it has said that it has all, or takes too long, this keeper
goes on as if nothing had been, for sending a descriptor changes nothing.
"""

import os
import socket
import time
from dataclasses import replace
from uuid import UUID

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.keepers import HandedOn, HandOn, KeeperNotReplaced
from vtpmd.ipc.last_word import answered
from vtpmd.ipc.rules import Side, State
from vtpmd.linux.descriptors import close_fds

from .daemon import Daemon
from .sleeper import Sleeper
from .waking import Waking

_WAKING = 5.0  # seconds within which those that are being woken are awake, or have failed
_ANSWER = 5.0  # seconds that a successor has for each thing; nobody is woken meanwhile


class GivingWay:
    """Hands on `sleepers`, `listener` and `lock`, and the channel to the daemon."""

    def __init__(
        self,
        sleepers: dict[UUID, Sleeper],
        due: dict[UUID, float],
        waking: Waking,
        daemon: Daemon,
        listener: socket.socket,
        lock: int,
    ) -> None:
        self._sleepers = sleepers
        self._due = due
        self._waking = waking
        self._daemon = daemon
        self._listener = listener
        self._lock = lock
        self._channel: Channel | None = None
        self._given_up = 0.0

    def begin(self, fd: int) -> None:
        """Give way to the keeper at the other end of this channel, which is prepared."""
        if self._channel is not None:
            self._cancel("another keeper is to go on")
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            close_fds([fd])
            self._cancel("there is no other keeper")
            return
        self._channel = Channel(sock, Side.PREDECESSOR, State.KEEPER_AWAITED)
        self._given_up = time.monotonic() + _WAKING
        self._waking.paused = True

    @property
    def deadlines(self) -> tuple[float, ...]:
        """When `tick` has something to do."""
        return () if self._channel is None else (self._given_up,)

    def tick(self) -> bool:
        """Give way if that is wanted and nothing is in the way; whether this keeper is none now."""
        if self._channel is None:
            return False
        if self._waking.goes_on or not self._daemon.reads:
            if time.monotonic() >= self._given_up:
                self._cancel("it was not idle in time: TPMs are being woken")
            return False
        if not self._hand_on(self._channel):
            self._cancel("the other keeper ended, or took too long")
            return False
        for sleeper in self._sleepers.values():
            if sleeper.estate is not None:
                sleeper.estate.wipe()
        os.close(self._lock)
        self._channel.close()
        return True

    def _hand_on(self, channel: Channel) -> bool:
        """Whether the other one has it all. If not, it can't have it later either."""
        daemon = self._daemon.channel
        fds = [self._listener.fileno(), self._lock]
        if daemon is not None:
            fds.append(daemon.fileno())
        channel.set_patience(_ANSWER)
        try:
            channel.receive()  # that it is prepared
            for uuid, sleeper in self._sleepers.items():
                self._send(channel, uuid, sleeper)
        except (ChannelClosedError, IllegalMessageError, OSError):
            return False
        last = HandedOn(len(self._sleepers), _met(daemon), self._daemon.told)
        return answered(channel, last, fds, _ANSWER)

    def _send(self, channel: Channel, uuid: UUID, sleeper: Sleeper) -> None:
        """Hand one on. Raises as `Channel.send`."""
        worker, estate = sleeper.channel, sleeper.estate
        fds = [sleeper.lock, sleeper.progress]
        if worker is not None:
            fds.append(worker.fileno())
        fds += sleeper.bequest
        left = self._due[uuid] - time.monotonic() if uuid in self._due else None
        message = HandOn(
            uuid,
            sleeper.name,
            sleeper.sandbox,
            worker=worker is not None,
            met=_met(worker),
            bequest=bool(sleeper.bequest),
            due=0 if left is None else max(1, round(left * 1000)),
            failures=sleeper.failures,
        )
        if estate is None:
            channel.send(message, fds)
            return
        with estate.whole_order() as order:
            channel.send(replace(message, order=(order,)), fds + estate.fds)

    def _cancel(self, reason: str) -> None:
        """Go on."""
        if self._channel is not None:
            self._channel.close()
        self._channel, self._waking.paused = None, False
        self._daemon.tell(KeeperNotReplaced(reason))


def _met(channel: Channel | None) -> tuple[int, ...]:
    """The version with which the other end has begun."""
    version = None if channel is None else channel.peer_version
    return () if version is None else (version.major, version.minor)
