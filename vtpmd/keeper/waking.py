"""Waking: a worker is forked, of which the keeper is the predecessor, and tried again if it fails.

asleep ── an octet, a connection, a daemon, a deadline ──▶ waking ──▶ awake
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from uuid import UUID

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import Awake, NotAwake, Succeed, Succession
from vtpmd.ipc.rules import Side, State
from vtpmd.spawn.spawner import Spawner, SpawnError, ZygoteLostError

from .daemon import Daemon
from .sleeper import Estate, Sleeper
from .watching import Watching

_RETRY = (0.1, 0.5, 2.0, 10.0)
"""Seconds until a TPM that could not be woken is tried again; the last one from then on."""
_PATIENCE = 30.0  # seconds that a worker has to go on with it
_PAUSE = 0.05  # seconds
_BROKEN = (ChannelClosedError, IllegalMessageError, OSError)


class Waking:
    """Wakes the `sleepers`; `due` says when each is to be looked after, in monotonic seconds.

    `hear` is called for a worker that has gone on with one and says something.
    """

    def __init__(
        self,
        sleepers: dict[UUID, Sleeper],
        due: dict[UUID, float],
        watching: Watching,
        daemon: Daemon,
        spawner: Spawner,
        hear: Callable[[UUID], object],
    ) -> None:
        self._sleepers = sleepers
        self._due = due
        self._watching = watching
        self._daemon = daemon
        self._spawner = spawner
        self._hear = hear
        self.crippled = False
        """Whether no worker can be had any more."""
        self.paused = False
        """Whether nobody is woken for now: it will be, by this keeper or the next."""

    def await_signs(self, uuid: UUID, estate: Estate) -> None:
        """Wake it as soon as one of its sockets has anything. Raises OSError."""
        for fd in estate.sockets:
            self._watching.watch(fd, partial(self.wake, uuid))

    def await_none(self, estate: Estate) -> None:
        """Look at its sockets no more."""
        for fd in estate.sockets:
            self._watching.forget(fd)

    @property
    def goes_on(self) -> bool:
        """Whether anybody is being woken."""
        return any(sleeper.waking for sleeper in self._sleepers.values())

    def wake(self, uuid: UUID) -> None:
        """Have a worker forked that goes on with it, unless it is awake or one was already."""
        sleeper = self._sleepers.get(uuid)
        if sleeper is None or sleeper.estate is None or sleeper.channel is not None:
            return
        self.await_none(sleeper.estate)
        if self.paused:
            self._due[uuid] = time.monotonic() + _PAUSE
            return
        self._due[uuid] = time.monotonic() + _PATIENCE
        try:
            spawning = sleeper.spawning = self._spawner.spawn(uuid, sleeper.name, [sleeper.lock])
            ours, theirs = Channel.pair()
            with theirs:
                order = Succeed(uuid, sleeper.name, sleeper.sandbox)
                spawning.channel.send(order, [theirs.fileno()])
            ours.setblocking(False)
            sleeper.channel = Channel(ours, Side.PREDECESSOR, State.AWAITED)
            self._watching.watch_channel(sleeper.channel, partial(self._hand_over, uuid))
        except ZygoteLostError as error:
            self.crippled = True
            self.fail(uuid, sleeper, str(error))
        except (SpawnError, *_BROKEN) as error:
            self.fail(uuid, sleeper, str(error))

    def look_after(self, uuid: UUID, sleeper: Sleeper) -> None:
        """It is due."""
        if sleeper.channel is None:
            self.wake(uuid)
        else:
            self.fail(uuid, sleeper, f"not awake within {_PATIENCE:.0f} s")

    def _hand_over(self, uuid: UUID) -> None:
        """A worker is prepared, or goes on with it, or has ended."""
        sleeper = self._sleepers[uuid]
        worker, estate = sleeper.channel, sleeper.estate
        assert worker is not None
        assert estate is not None
        try:
            worker.receive()
            if worker.state is State.GIVING_WAY:
                fds = [*estate.fds, sleeper.progress]
                with estate.whole_order() as kept:
                    worker.send(Succession(kept.order, kept.data, kept.idle), fds)
                return
        except BlockingIOError:
            return
        except _BROKEN:
            self.fail(uuid, sleeper, "the worker ended before it served")
            return
        spawning = sleeper.spawning
        assert spawning is not None
        _dismiss(sleeper)
        self._due.pop(uuid, None)
        estate.forget()
        sleeper.estate, sleeper.failures = None, 0
        self._watching.call_instead(worker.fileno(), partial(self._hear, uuid))
        self._daemon.tell(Awake(uuid, spawning.pid))

    def fail(self, uuid: UUID, sleeper: Sleeper, reason: str) -> None:
        """It is tried again: by then there may be memory, or a zygote."""
        sleeper.silence()
        if sleeper.spawning is not None:  # it may hang, or still be about to go on
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(sleeper.spawning.pidfd, signal.SIGKILL)
        _dismiss(sleeper)
        self._due[uuid] = time.monotonic() + _RETRY[min(sleeper.failures, len(_RETRY) - 1)]
        sleeper.failures += 1
        self._daemon.tell(NotAwake(uuid, reason))


def _dismiss(sleeper: Sleeper) -> None:
    """Have nothing more to do with the process that was spawned; it goes on if it serves."""
    if sleeper.spawning is not None:
        sleeper.spawning.channel.close()
        os.close(sleeper.spawning.pidfd)
    sleeper.spawning = None
