"""The keeper's loop: it waits for descriptors, and reads nothing but its own messages.

    a worker gives its TPM back ──▶ asleep ── an octet, a connection, a daemon ──▶ waking ──▶ awake

Of one that is awake it has the worker's bequest. If the worker crashes, that waits for an heir,
whom a daemon names; without a daemon not for long, as QEMU may be waiting, too.

One thread. It has the TPMs of several machines, so nothing that one worker sends changes more than
that one's own entry, and whoever breaks the rules of its channel has none any more.
"""

import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from uuid import UUID

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import (
    Asleep,
    Awake,
    Bequeath,
    Bequest,
    ForgetBequest,
    GiveBack,
    Keep,
    Message,
    NotAwake,
    ReadBequest,
    ReadSleepers,
    Sleepers,
    Succeed,
    Succession,
    TakenBack,
    WakeUp,
)
from vtpmd.ipc.rules import Side, State
from vtpmd.linux.descriptors import close_fds
from vtpmd.linux.peers import peer_of
from vtpmd.spawn.spawner import Spawner, SpawnError, ZygoteLostError

from .sleeper import Estate, Sleeper, UnfitError, wipe

_RETRY = (0.1, 0.5, 2.0, 10.0)
"""Seconds until a TPM that could not be woken is tried again; the last one from then on."""
_BROKEN = (ChannelClosedError, IllegalMessageError, OSError)

_MAX_OUTGOING = 1000  # messages that a daemon has not read, besides two for each TPM
_PATIENCE = 30.0  # seconds that a worker has to go on with it
_ALONE = 60.0  # seconds, or at most twice as many, that a bequest waits for a daemon
_LAST_ORDERS = 10_000  # of one daemon, when another one comes
_LAST_WORDS = 16  # messages of a worker that has ended which are read before its bequest is told

Callback = Callable[[], object]


class Keeper:
    """Serves whichever daemon has connected last; ends when there is none and nothing to keep."""

    def __init__(self, listener: socket.socket, spawner: Spawner) -> None:
        self._listener = listener
        self._spawner = spawner
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._sleepers: dict[UUID, Sleeper] = {}
        self._daemon: Channel | None = None
        self._had_daemon = False
        self._outgoing: deque[Message] = deque()
        self._due: dict[UUID, float] = {}
        """When to wake what could not be woken, to give up who has not, or to look for an heir."""
        self._crippled = False  # no worker can be had any more
        self._told = False  # the daemon knows all that sleeps, and has duplicates of it
        listener.setblocking(False)
        self._watch(listener.fileno(), self._accept)

    def run(self) -> None:
        """Go on until nobody can need it any more."""
        while not self._had_daemon or self._daemon is not None or self._sleepers:
            if self._crippled and self._told:
                return  # the daemon has what it takes to wake them, once nobody else can
            timeout = None
            if self._due:
                timeout = max(0.0, min(self._due.values()) - time.monotonic())
            for fd, _ in self._epoll.poll(timeout, 64):
                if callback := self._callbacks.get(fd):
                    callback()
            now = time.monotonic()
            for uuid in [uuid for uuid, due in self._due.items() if due <= now]:
                self._expire(uuid)

    def _watch(self, fd: int, callback: Callback, events: int = select.EPOLLIN) -> None:
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def _watch_channel(self, channel: Channel, callback: Callback) -> None:
        channel.on_close = lambda closing: self._forget(closing.fileno())
        self._watch(channel.fileno(), callback)

    def _forget(self, fd: int) -> None:
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    # --- the daemon -------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if peer_of(sock).uid != os.geteuid():
            sock.close()
            return
        for _ in range(_LAST_ORDERS):  # of a daemon that has ended, or gave up waiting
            if self._daemon is None or not self._obey(self._daemon):
                break
        self._part()
        sock.setblocking(False)
        self._daemon = daemon = Channel(sock, Side.KEEPER, State.KEEPING)
        self._had_daemon = True
        try:
            self._watch_channel(daemon, partial(self._obey, daemon))
        except OSError:
            self._part()

    def _part(self) -> None:
        if self._daemon is not None:
            self._daemon.close()
        self._daemon = None
        self._outgoing.clear()
        self._told = False

    def _obey(self, daemon: Channel) -> bool:
        """Follow its next order; whether there was one."""
        if self._outgoing:
            self._flush()
        try:
            order, fds = daemon.receive()
        except BlockingIOError:
            return False
        except _BROKEN:
            self._part()
            return False
        match order:
            case Keep():
                self._keep(order, *fds)
            case WakeUp():
                self._wake(order.uuid)
            case ReadBequest():
                self._hear_out(order.uuid)
                self._tell(Bequest(order.uuid))
            case ForgetBequest():
                self._hear_out(order.uuid)
                self._disinherit(order.uuid)
            case ReadSleepers():
                for uuid in order.uuids or self._sleepers:
                    self._tell_asleep(uuid)
                self._tell(Sleepers(len(self._sleepers)))
                self._told |= not order.uuids and self._daemon is not None
        return True

    def _tell(self, message: Message) -> None:
        """Tell the daemon, as soon as it reads.

        One that does not is parted with in the end: it asks for everything when it comes back.
        """
        if self._daemon is not None:
            self._outgoing.append(message)
            if len(self._outgoing) > _MAX_OUTGOING + 2 * len(self._sleepers):
                self._part()
            else:
                self._flush()

    def _tell_asleep(self, uuid: UUID) -> None:
        sleeper = self._sleepers.get(uuid)
        if sleeper is not None and (estate := sleeper.estate) is not None:
            self._tell(Asleep(uuid, estate.order.data))

    def _flush(self) -> None:
        """Send what the daemon takes, each sleeper with its descriptors if it still sleeps."""
        daemon = self._daemon
        assert daemon is not None
        try:
            while self._outgoing:
                message, fds = self._outgoing[0], list[int]()
                if isinstance(message, Asleep):
                    sleeper = self._sleepers.get(message.uuid)
                    fds = [] if sleeper is None or sleeper.estate is None else sleeper.estate.fds
                if isinstance(message, Bequest) and message.uuid in self._sleepers:
                    fds = self._sleepers[message.uuid].bequest
                if fds or not isinstance(message, Asleep):
                    daemon.send(message, fds)
                self._outgoing.popleft()
            events = select.EPOLLIN
        except BlockingIOError:
            events = select.EPOLLIN | select.EPOLLOUT
        except _BROKEN:
            self._part()
            return
        self._epoll.modify(daemon.fileno(), events)

    # --- workers ----------------------------------------------------------------------------------

    def _keep(self, order: Keep, channel: int, lock: int, progress: int) -> None:
        """A worker that serves may give its TPM back over this channel.

        What the one before has left stays until this one leaves anything: it may not have yet.
        """
        self._hear_out(order.uuid)
        former = self._sleepers.get(order.uuid)
        if former is not None and former.estate is not None:  # the worker it is of has ended
            close_fds([channel, lock, progress])
            return
        left = list[int]()
        if former is not None:
            self._wait_no_more(order.uuid, former)
            left, former.bequest = former.bequest, []
            self._drop(order.uuid, former)
        try:
            sock = socket.socket(fileno=channel)
        except OSError:
            close_fds([channel, lock, progress, *left])
            return
        sock.setblocking(False)
        worker = Channel(sock, Side.PREDECESSOR, State.SUCCEEDED)
        sleeper = Sleeper(order.name, lock, progress, order.sandbox, worker, bequest=left)
        self._sleepers[order.uuid] = sleeper
        try:
            self._watch_channel(worker, partial(self._hear, order.uuid))
        except OSError:
            self._drop(order.uuid, sleeper)

    def _drop(self, uuid: UUID, sleeper: Sleeper) -> None:
        """Forget one that is awake, or not to be had."""
        self._silence(sleeper)
        self._wait_no_more(uuid, sleeper)
        sleeper.forget_bequest()
        close_fds([sleeper.lock, sleeper.progress])
        del self._sleepers[uuid]

    def _silence(self, sleeper: Sleeper) -> None:
        if sleeper.channel is not None:
            sleeper.channel.close()
        sleeper.channel = None

    def _hear(self, uuid: UUID) -> None:
        """A worker that is awake speaks: it leaves a bequest, it rests, or it has ended."""
        sleeper = self._sleepers[uuid]
        worker = sleeper.channel
        assert worker is not None
        try:
            message, fds = worker.receive()
        except BlockingIOError:
            return
        except _BROKEN:
            self._await_heir(uuid, sleeper)
            return
        if isinstance(message, Bequeath):
            sleeper.bequeath(fds)
            return
        assert isinstance(message, GiveBack)  # the table lets nothing else through
        estate = Estate(message, fds)
        try:
            estate.check()
            estate.guard()
            for fd in estate.sockets:
                self._watch(fd, partial(self._wake, uuid))
            worker.send(TakenBack())  # last: from then on it is ours, and without it the worker's
        except (UnfitError, *_BROKEN):
            for fd in estate.sockets:  # closing ours would not do: the worker has them open, too
                self._forget(fd)
            wipe(message)
            close_fds(fds)
            self._drop(uuid, sleeper)
            return
        self._silence(sleeper)
        sleeper.forget_bequest()  # its connections are among those of the estate
        sleeper.estate = estate
        self._tell_asleep(uuid)

    def _await_heir(self, uuid: UUID, sleeper: Sleeper) -> None:
        """A worker has ended: what it has left waits until a daemon asks, or QEMU ends."""
        self._silence(sleeper)
        if not sleeper.bequest:
            self._drop(uuid, sleeper)
            return
        try:
            self._watch(sleeper.left_data, partial(self._disinherit, uuid), 0)  # that it hangs up
        except OSError:
            self._disinherit(uuid)
            return
        self._due[uuid] = time.monotonic() + _ALONE

    def _wait_no_more(self, uuid: UUID, sleeper: Sleeper) -> None:
        if sleeper.bequest and uuid in self._due:
            del self._due[uuid]
            self._forget(sleeper.left_data)

    def _hear_out(self, uuid: UUID) -> None:
        """Read what a worker that has ended has sent before."""
        for _ in range(_LAST_WORDS):
            sleeper = self._sleepers.get(uuid)
            if sleeper is None or sleeper.channel is None or sleeper.estate is not None:
                return
            self._hear(uuid)

    def _disinherit(self, uuid: UUID) -> None:
        """Nobody goes on with what a worker has left: QEMU finds that out."""
        sleeper = self._sleepers.get(uuid)
        if sleeper is None or not sleeper.bequest or sleeper.channel is not None:
            return
        if not sleeper.served:
            sleeper.end_bequest()
        self._drop(uuid, sleeper)

    def _wake(self, uuid: UUID) -> None:
        """Have a worker forked that goes on with it, unless it is awake or one was already."""
        sleeper = self._sleepers.get(uuid)
        if sleeper is None or sleeper.estate is None or sleeper.channel is not None:
            return
        self._due[uuid] = time.monotonic() + _PATIENCE
        for fd in sleeper.estate.sockets:
            self._forget(fd)
        try:
            spawning = sleeper.spawning = self._spawner.spawn(uuid, sleeper.name, [sleeper.lock])
            ours, theirs = Channel.pair()
            with theirs:
                order = Succeed(uuid, sleeper.name, sleeper.sandbox)
                spawning.channel.send(order, [theirs.fileno()])
            ours.setblocking(False)
            sleeper.channel = Channel(ours, Side.PREDECESSOR, State.AWAITED)
            self._watch_channel(sleeper.channel, partial(self._hand_over, uuid))
        except ZygoteLostError as error:
            self._crippled = True
            self._fail(uuid, sleeper, str(error))
        except (SpawnError, *_BROKEN) as error:
            self._fail(uuid, sleeper, str(error))

    def _hand_over(self, uuid: UUID) -> None:
        """A worker is prepared, or goes on with it, or has ended."""
        sleeper = self._sleepers[uuid]
        worker, estate = sleeper.channel, sleeper.estate
        assert worker is not None
        assert estate is not None
        try:
            worker.receive()
            if worker.state is State.GIVING_WAY:
                kept = estate.order
                fds = [*estate.fds, sleeper.progress]
                worker.send(Succession(kept.order, kept.data, kept.idle), fds)
                return
        except BlockingIOError:
            return
        except _BROKEN:
            self._fail(uuid, sleeper, "the worker ended before it served")
            return
        spawning = sleeper.spawning
        assert spawning is not None
        self._dismiss(sleeper)
        self._due.pop(uuid, None)
        estate.forget()
        sleeper.estate, sleeper.failures = None, 0
        self._callbacks[worker.fileno()] = partial(self._hear, uuid)
        self._tell(Awake(uuid, spawning.pid))

    def _expire(self, uuid: UUID) -> None:
        sleeper = self._sleepers[uuid]
        if sleeper.bequest and self._daemon is None:
            self._disinherit(uuid)
        elif sleeper.bequest:
            self._due[uuid] = time.monotonic() + _ALONE
        elif sleeper.channel is None:
            self._wake(uuid)
        else:
            self._fail(uuid, sleeper, f"not awake within {_PATIENCE:.0f} s")

    def _dismiss(self, sleeper: Sleeper) -> None:
        """Have nothing more to do with the process that was spawned; it goes on if it serves."""
        if sleeper.spawning is not None:
            sleeper.spawning.channel.close()
            os.close(sleeper.spawning.pidfd)
        sleeper.spawning = None

    def _fail(self, uuid: UUID, sleeper: Sleeper, reason: str) -> None:
        """It is tried again: by then there may be memory, or a zygote."""
        self._silence(sleeper)
        if sleeper.spawning is not None:  # it may hang, or still be about to go on
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(sleeper.spawning.pidfd, signal.SIGKILL)
        self._dismiss(sleeper)
        self._due[uuid] = time.monotonic() + _RETRY[min(sleeper.failures, len(_RETRY) - 1)]
        sleeper.failures += 1
        self._tell(NotAwake(uuid, reason))
