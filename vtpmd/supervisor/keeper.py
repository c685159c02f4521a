"""The supervisor's side of the keeper: workers are told of it, and sleeping TPMs woken.

The keeper outlives the daemon. It is started when the first worker could sleep, and the next daemon
finds it on its socket. Duplicates of what it holds lie here, so that its end loses nothing.
"""

import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import trio

from vtpmd.api.text import printable
from vtpmd.config.schema import Configuration
from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import (
    PROGRESS_SIZE,
    Asleep,
    Awake,
    Bequest,
    ForgetBequest,
    Keep,
    KeeperUsed,
    Message,
    NotAwake,
    ReadBequest,
    ReadSleepers,
    Sleepers,
    UseKeeper,
    WakeUp,
)
from vtpmd.ipc.rules import Side, State
from vtpmd.linux import sockets
from vtpmd.linux.descriptors import close_fds
from vtpmd.linux.memory import memory_file
from vtpmd.linux.scarcity import is_scarcity
from vtpmd.spawn.process import start_keeper
from vtpmd.telemetry.log import get_logger

from . import serving_lock, waiting
from .adoption import adopt
from .endpoints import Endpoints
from .errors import KeeperLostError, WorkerEndedError
from .events import OnEvent
from .metadata import Metadata
from .refusals import EXPECTED
from .worker import Worker

ANSWER_TIMEOUT = 10.0
_PAUSE = 0.1
_SPARED, _SPARED_CONNECTED = 20.0, 2.0
"""Seconds until a keeper is started for a worker that serves, and for one to which QEMU is
connected, unless it may sleep earlier: what is soon stopped again costs no process."""
_BROKEN = (ChannelClosedError, IllegalMessageError, trio.ClosedResourceError, OSError)

log = get_logger("keeper")


@dataclass(frozen=True)
class Duplicates:
    """Of the descriptors of one that sleeps; `data`: a data listener is among them."""

    fds: list[int]
    data: bool

    def close(self) -> None:
        close_fds(self.fds)


@dataclass(eq=False)
class Offered:
    """A worker that serves. `connected`: QEMU is, to it; `told`: it knows of the keeper."""

    worker: Worker
    metadata: Metadata
    endpoints: Endpoints
    connected: bool = False
    told: bool = False


class Keeper:
    """At most one keeper process, none if there is nothing to keep.

    `run` must be running.
    """

    def __init__(self, configuration: Configuration, nursery: trio.Nursery) -> None:
        self._path = configuration.keeper_socket
        self._idle = configuration.idle_timeout
        self._sandbox = configuration.sandbox
        self._nursery = nursery
        self._channel: Channel | None = None
        self._lock = trio.Lock()
        self._questions = deque[trio.Event]()  # each is set when it is answered, or nobody will
        self._duplicates: dict[UUID, Duplicates] = {}
        self._waking: dict[UUID, trio.Event] = {}
        self._woken: dict[UUID, int] = {}  # the process that has woken it and was not met yet
        self._offered: dict[UUID, Offered] = {}
        self._bequests: dict[UUID, list[int]] = {}
        self._told = set[UUID]()  # of which the keeper has said that they sleep
        self._pid = self._pidfd = -1
        self._closed = False

    async def connect(self) -> None:
        """Find the keeper that a daemon before this one has left, and what sleeps there."""
        if (channel := await self._reach()) is None:
            return
        pidfd = -1
        try:
            with trio.fail_after(ANSWER_TIMEOUT):
                await waiting.meet(channel)
                if (sender := channel.sender) is not None:
                    pidfd = os.pidfd_open(sender.pid)
                if sender is None or serving_lock.holder(self._path) != sender.pid:
                    raise IllegalMessageError("whoever listens there is not the keeper")
        except (*_BROKEN, trio.TooSlowError) as error:
            channel.close()
            if pidfd >= 0:
                os.close(pidfd)
            log.error("keeper-not-adopted", reason=printable(str(error)))
            return
        self._begin(channel, sender.pid, pidfd)
        self._told = set()
        try:
            await self._ask(ReadSleepers())
        except KeeperLostError:
            return
        for uuid in self._duplicates.keys() - self._told:
            self._drop(uuid)
            self._tell_awake(uuid)
        log.info("keeper-adopted", pid=sender.pid, asleep=len(self._duplicates))

    async def _reach(self) -> Channel | None:
        """A channel to whoever listens, None if nobody does; a scarcity here is waited for."""
        with trio.move_on_after(ANSWER_TIMEOUT):
            while True:
                try:
                    return Channel.connect(self._path, Side.SUPERVISOR, State.KEEPING)
                except OSError as error:
                    if not is_scarcity(error):
                        return None
                await trio.sleep(_PAUSE)
        return None

    def offer(self, worker: Worker, metadata: Metadata, endpoints: Endpoints) -> None:
        """Let a worker that serves leave its bequest with the keeper, and give its TPM to it."""
        self._offered[metadata.uuid] = offered = Offered(worker, metadata, endpoints)
        self._offer_soon(offered)

    def connected(self, uuid: UUID) -> None:
        """QEMU is connected to the worker of this instance."""
        if (offered := self._offered.get(uuid)) is not None and not offered.connected:
            offered.connected = True
            if not offered.told:
                self._offer_soon(offered)

    def _offer_soon(self, offered: Offered) -> None:
        """Offer it as soon as that is worth a process, if it will be by itself."""
        if self._channel is not None:
            self._nursery.start_soon(self._offer, offered, 0.0)
        elif self._idle or offered.connected:
            spared = _SPARED_CONNECTED if offered.connected else _SPARED
            delay = min(self._idle or spared, spared)
            self._nursery.start_soon(self._offer, offered, delay)

    def withdraw(self, uuid: UUID) -> None:
        """The worker that was offered has ended."""
        self._offered.pop(uuid, None)

    async def _offer(self, offered: Offered, delay: float) -> None:
        metadata = offered.metadata
        await trio.sleep(delay)
        if self._closed or offered.told or self._offered.get(metadata.uuid) is not offered:
            return  # or another one serves by now
        offered.told = True
        with (
            contextlib.suppress(KeeperLostError, *EXPECTED),
            _pair() as (ours, theirs),
            memory_file("progress", PROGRESS_SIZE) as progress,
            memory_file("suspended") as memory,
        ):
            async with self._lock:
                if self._channel is None:
                    self._start()
                with serving_lock.joined(offered.endpoints.adoption) as lock:
                    order = Keep(metadata.uuid, metadata.name, self._sandbox)
                    await self._send(order, [theirs, lock, progress])
            use = UseKeeper(round(self._idle * 1000))
            await offered.worker.ask(use, KeeperUsed, [ours, memory, progress])

    async def bequest(self, uuid: UUID) -> list[int]:
        """What the worker of an instance has left, which has crashed; the caller's descriptors.

        Empty if there is nothing.
        """
        with contextlib.suppress(KeeperLostError):
            await self._ask(ReadBequest(uuid))
        return self._bequests.pop(uuid, [])

    async def disinherit(self, uuid: UUID) -> None:
        """Let whoever was connected to the worker of an instance find out that it has ended."""
        with contextlib.suppress(KeeperLostError):
            await self._send(ForgetBequest(uuid), [])

    async def has(self, uuid: UUID) -> bool:
        """Whether this TPM sleeps. Its worker has ended, or there was never one."""
        async with self._lock:
            while self._pidfd >= 0:  # it lives, and knows
                with contextlib.suppress(KeeperLostError):
                    await self._ask(ReadSleepers((uuid,)))
                    break
                await trio.sleep(_PAUSE)
        return uuid in self._duplicates

    async def kept(self, uuid: UUID) -> bool:
        """Whether a TPM sleeps, or has and was woken by a worker that was not met yet."""
        return await self.has(uuid) or uuid in self._woken

    def met(self, uuid: UUID, pid: int) -> None:
        """It is known that this process serves it."""
        if self._woken.get(uuid) == pid:
            del self._woken[uuid]

    async def awakened(self, uuid: UUID, endpoints: Endpoints, on_event: OnEvent) -> Worker:
        """The worker that serves a TPM once it is awake. Raises WorkerEndedError, KeeperLostError.

        One that sleeps again before it was adopted is waited for once more.
        """
        while True:
            await self.awake(uuid)
            self._woken.pop(uuid, None)
            try:
                return await adopt(endpoints.adoption, on_event)
            except WorkerEndedError:
                if not await self.kept(uuid):
                    raise

    async def awake(self, uuid: UUID) -> None:
        """Wait until a worker goes on with a TPM that sleeps. Raises KeeperLostError."""
        while uuid in self._duplicates:
            if self._pidfd < 0:
                raise KeeperLostError("the keeper of sleeping TPMs has ended")
            await self._waking.setdefault(uuid, trio.Event()).wait()

    async def wake(self, uuid: UUID) -> None:
        """Have the keeper wake it; `awake` tells when it is. Raises KeeperLostError."""
        await self._send(WakeUp(uuid), [])

    def take(self, uuid: UUID) -> "Duplicates":
        """The duplicates of the descriptors of one whose keeper has ended; the caller's now."""
        return self._duplicates.pop(uuid)

    def close(self) -> None:
        """Leave the keeper alone."""
        self._closed = True
        self._part()
        self._forget_process()
        for uuid in list(self._duplicates):
            self._drop(uuid)

    def _start(self) -> None:
        """Start a keeper process and connect to it. Raises OSError, InUseError."""
        with (
            serving_lock.created(self._path) as lock,
            sockets.listen(self._path, mode=0o600, kind=socket.SOCK_SEQPACKET) as listener,
        ):
            pid = start_keeper([listener.fileno(), lock])
            pidfd = os.pidfd_open(pid)
            try:
                channel = Channel.connect(self._path, Side.SUPERVISOR, State.KEEPING)
            except OSError:
                os.close(pidfd)
                raise
        log.info("keeper-started", pid=pid)
        self._begin(channel, pid, pidfd)

    def _begin(self, channel: Channel, pid: int, pidfd: int) -> None:
        self._forget_process()
        self._channel, self._pid, self._pidfd = channel, pid, pidfd
        self._nursery.start_soon(self._listen, channel)

    async def _listen(self, channel: Channel) -> None:
        try:
            while True:
                message, fds = await waiting.receive(channel)
                self._heed(message, fds)
        except _BROKEN as error:
            if self._channel is channel:
                await self._lose(printable(str(error)))

    def _heed(self, message: Message, fds: list[int]) -> None:
        match message:
            case Asleep():
                self._told.add(message.uuid)
                self._drop(message.uuid)
                self._offered.pop(message.uuid, None)
                self._woken.pop(message.uuid, None)
                self._duplicates[message.uuid] = Duplicates(fds, message.data)
            case Awake():
                self._drop(message.uuid)
                self._woken[message.uuid] = message.pid
                self._tell_awake(message.uuid)
            case NotAwake():
                log.error("not-woken", uuid=str(message.uuid), reason=printable(message.reason))
            case Bequest():
                close_fds(self._bequests.pop(message.uuid, []))
                self._bequests[message.uuid] = fds
                self._answered()
            case Sleepers():
                self._answered()

    async def _lose(self, reason: str) -> None:
        """Find the keeper once more if it lives, or else have what slept there woken from here."""
        self._part()
        await trio.sleep(_PAUSE)  # what it was short of may be there again
        if self._channel is None:
            await self.connect()
        if self._channel is not None or self._pidfd < 0:
            return
        with contextlib.suppress(ProcessLookupError):  # two would wake a TPM twice
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._forget_process()
        with contextlib.suppress(OSError):
            os.waitpid(self._pid, os.WNOHANG)  # noqa: ASYNC222
        log.error("keeper-lost", pid=self._pid, reason=reason, asleep=len(self._duplicates))
        for uuid in list(self._waking):
            self._tell_awake(uuid)
        for offered in self._offered.values():
            offered.told = False
            self._offer_soon(offered)

    def _answered(self) -> None:
        if self._questions:
            self._questions.popleft().set()

    def _forget_process(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pidfd = -1

    def _drop(self, uuid: UUID) -> None:
        if (duplicates := self._duplicates.pop(uuid, None)) is not None:
            duplicates.close()

    def _tell_awake(self, uuid: UUID) -> None:
        if (event := self._waking.pop(uuid, None)) is not None:
            event.set()

    def _part(self) -> None:
        if self._channel is not None:
            trio.lowlevel.notify_closing(self._channel.fileno())
            self._channel.close()
        self._channel = None
        while self._questions:
            self._answered()

    async def _ask(self, question: ReadSleepers | ReadBequest) -> None:
        """Ask, and wait until all answers are heeded. Raises KeeperLostError."""
        channel, answered = self._channel, trio.Event()
        await self._send(question, [])
        self._questions.append(answered)
        try:
            with trio.fail_after(ANSWER_TIMEOUT):
                await answered.wait()
        except trio.TooSlowError:
            await self._lose("it does not answer")
        if self._channel is not channel:
            raise KeeperLostError("the keeper has not answered")

    async def _send(self, message: Message, fds: list[int]) -> None:
        if self._channel is None:
            raise KeeperLostError("there is no keeper")
        try:
            with trio.fail_after(ANSWER_TIMEOUT):
                await waiting.send(self._channel, message, fds)
        except (*_BROKEN, trio.TooSlowError):
            await self._lose("it does not listen")
            raise KeeperLostError("the keeper does not listen") from None


@contextlib.contextmanager
def _pair() -> Iterator[tuple[int, int]]:
    ours, theirs = Channel.pair()
    with ours, theirs:
        yield ours.fileno(), theirs.fileno()
