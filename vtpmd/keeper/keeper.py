"""The keeper's loop: it waits for descriptors, and reads nothing but its own messages.

    a worker gives its TPM back ──▶ asleep ── an octet, a connection, a daemon ──▶ waking ──▶ awake

Of one that is awake it has the worker's bequest. If the worker crashes, that waits for an heir,
whom a daemon names; without a daemon not for long, as QEMU may be waiting, too.

One thread. It has the TPMs of several machines, so nothing that one worker sends changes more than
that one's own entry, and whoever breaks the rules of its channel has none any more.
"""

import os
import socket
import time
from collections.abc import Sequence
from functools import partial
from uuid import UUID

from vtpmd import __version__
from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import (
    Asleep,
    Bequeath,
    Bequest,
    ForgetBequest,
    GiveBack,
    Keep,
    KeeperReplaced,
    Message,
    ReadBequest,
    ReadSleepers,
    ReplaceKeeper,
    Sleepers,
    TakenBack,
    WakeUp,
)
from vtpmd.ipc.rules import Side, State
from vtpmd.linux.descriptors import close_fds
from vtpmd.linux.peers import peer_of
from vtpmd.spawn.spawner import Spawner

from .daemon import Daemon
from .deks import Deks
from .giving_way import GivingWay
from .sleeper import Estate, Sleeper, UnfitError
from .succession import Succession
from .waking import Waking
from .watching import Watching

_BROKEN = (ChannelClosedError, IllegalMessageError, OSError)

_ALONE = 60.0  # seconds, or at most twice as many, that a bequest waits for a daemon
_LAST_ORDERS = 10_000  # of one daemon, when another one comes
_LAST_WORDS = 16  # messages of a worker that has ended which are read before its bequest is told


class Keeper:
    """Serves whichever daemon has connected last; ends when there is none and nothing to keep.

    `lock`: the descriptor of the lock by which the kernel tells which process is the keeper.
    """

    def __init__(self, listener: socket.socket, lock: int, spawner: Spawner, deks: Deks) -> None:
        self._listener = listener
        self._deks = deks
        self._watching = Watching()
        self._sleepers: dict[UUID, Sleeper] = {}
        self._due: dict[UUID, float] = {}
        """When to wake one, to give up who has not woken, or to look for an heir."""
        self._daemon = Daemon(self._watching, self._descriptors, lambda: len(self._sleepers))
        self._waking = Waking(
            self._sleepers, self._due, self._watching, self._daemon, spawner, self._hear
        )
        self._giving_way = GivingWay(
            self._sleepers, self._due, self._waking, self._daemon, listener, lock
        )
        listener.setblocking(False)
        self._watching.watch(listener.fileno(), self._accept)

    def run(self) -> None:
        """Go on until nobody can need it any more, or another keeper has all that it had."""
        while self._daemon.expected or self._daemon.channel is not None or self._sleepers:
            if self._waking.crippled and self._daemon.told:
                return  # the daemon has what it takes to wake them, once nobody else can
            if self._giving_way.tick():
                return
            deadlines = [*self._due.values(), *self._giving_way.deadlines]
            timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
            self._watching.wait(timeout)
            now = time.monotonic()
            for uuid in [uuid for uuid, due in self._due.items() if due <= now]:
                self._expire(uuid)

    def resume(self, succession: Succession) -> None:
        """Go on where another keeper has left off, and say so to the daemon."""
        for uuid, sleeper, due in succession.known:
            self._sleepers[uuid] = sleeper
            if due is not None:
                self._due[uuid] = due
            self._resume(uuid, sleeper)
        self._daemon.expected = False
        if succession.daemon is not None:
            self._daemon.meet(succession.daemon, self._obey)
            self._daemon.told = succession.told
            self._daemon.tell(KeeperReplaced(__version__))

    def _resume(self, uuid: UUID, sleeper: Sleeper) -> None:
        if sleeper.estate is not None:
            try:
                self._waking.await_signs(uuid, sleeper.estate)
            except OSError:
                self._waking.wake(uuid)  # better now than never
            return
        try:
            if sleeper.channel is not None:
                self._watching.watch_channel(sleeper.channel, partial(self._hear, uuid))
            elif sleeper.left:
                self._watch_left(uuid, sleeper)
        except OSError:
            self._drop(uuid, sleeper)

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
            if not self._obey():
                break
        self._daemon.part()
        sock.setblocking(False)
        self._daemon.meet(Channel(sock, Side.KEEPER, State.KEEPING), self._obey)

    def _obey(self) -> bool:
        """Follow its next order; whether there was one."""
        if (heard := self._daemon.hear()) is None:
            return False
        order, fds = heard
        match order:
            case Keep():
                self._keep(order, *fds)
            case WakeUp():
                self._waking.wake(order.uuid)
            case ReadBequest():
                self._hear_out(order.uuid)
                self._daemon.tell(Bequest(order.uuid))
            case ForgetBequest():
                self._hear_out(order.uuid)
                self._disinherit(order.uuid)
            case ReadSleepers():
                for uuid in order.uuids or self._sleepers:
                    self._tell_asleep(uuid)
                self._daemon.tell(Sleepers(len(self._sleepers), __version__))
                self._daemon.told |= not order.uuids and self._daemon.channel is not None
            case ReplaceKeeper():
                self._giving_way.begin(*fds)
        return True

    def _tell_asleep(self, uuid: UUID) -> None:
        sleeper = self._sleepers.get(uuid)
        if sleeper is not None and (estate := sleeper.estate) is not None:
            self._daemon.tell(Asleep(uuid, estate.order.data, estate.order.machine))

    def _descriptors(self, message: Message) -> Sequence[int] | None:
        """Of a message to the daemon, which is nothing any more if the TPM does not sleep."""
        if isinstance(message, Asleep):
            sleeper = self._sleepers.get(message.uuid)
            return None if sleeper is None or sleeper.estate is None else sleeper.estate.fds
        if isinstance(message, Bequest) and message.uuid in self._sleepers:
            return self._sleepers[message.uuid].bequest
        return ()

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
            self._watching.watch_channel(worker, partial(self._hear, order.uuid))
        except OSError:
            self._drop(order.uuid, sleeper)

    def _drop(self, uuid: UUID, sleeper: Sleeper) -> None:
        """Forget one that is awake, or not to be had."""
        sleeper.silence()
        self._wait_no_more(uuid, sleeper)
        sleeper.forget_bequest()
        close_fds([sleeper.lock, sleeper.progress])
        del self._sleepers[uuid]

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
        estate = Estate(message, fds, self._deks)
        try:
            estate.check()
            estate.guard()
            self._waking.await_signs(uuid, estate)
            worker.send(TakenBack())  # last: from then on it is ours, and without it the worker's
        except (UnfitError, *_BROKEN):
            self._waking.await_none(estate)  # closing ours would not do: the worker has them, too
            estate.wipe()
            close_fds(fds)
            self._drop(uuid, sleeper)
            return
        sleeper.silence()
        sleeper.forget_bequest()  # its connections are among those of the estate
        sleeper.estate = estate
        if message.due:
            self._due[uuid] = time.monotonic() + message.due / 1000
        self._tell_asleep(uuid)

    def _await_heir(self, uuid: UUID, sleeper: Sleeper) -> None:
        """A worker has ended: what it has left waits until a daemon asks, or QEMU ends."""
        sleeper.silence()
        if not sleeper.bequest:
            self._drop(uuid, sleeper)
            return
        try:
            self._watch_left(uuid, sleeper)
        except OSError:
            self._disinherit(uuid)
            return
        self._due[uuid] = time.monotonic() + _ALONE

    def _watch_left(self, uuid: UUID, sleeper: Sleeper) -> None:
        """Find out when whoever is connected to it hangs up. Raises OSError."""
        self._watching.watch(sleeper.left_data, partial(self._disinherit, uuid), 0)

    def _wait_no_more(self, uuid: UUID, sleeper: Sleeper) -> None:
        if sleeper.bequest and uuid in self._due:
            del self._due[uuid]
            self._watching.forget(sleeper.left_data)

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
        if sleeper is None or not sleeper.left:
            return
        if not sleeper.served:
            sleeper.end_bequest()
        self._drop(uuid, sleeper)

    def _expire(self, uuid: UUID) -> None:
        sleeper = self._sleepers[uuid]
        if sleeper.bequest and self._daemon.channel is None:
            self._disinherit(uuid)
        elif sleeper.bequest:
            self._due[uuid] = time.monotonic() + _ALONE
        else:
            self._waking.look_after(uuid, sleeper)
