"""The supervisor's side of the keeper: workers are told of it, and sleeping TPMs woken.

The keeper outlives the daemon. It is started when the first worker could sleep, and the next daemon
finds it on its socket. Duplicates of what it holds lie here, so that its end loses nothing.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import trio

from vtpmd.api.text import printable
from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import (
    Asleep,
    Awake,
    Keep,
    KeeperUsed,
    Message,
    NotAwake,
    ReadSleepers,
    Sleepers,
    UseKeeper,
    WakeUp,
)
from vtpmd.ipc.rules import Side, State
from vtpmd.linux import sockets
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
_SPARED = 20.0
"""Seconds that a worker has served before it is told of the keeper, unless it may sleep earlier:
what is soon stopped again costs no process."""
_BROKEN = (ChannelClosedError, IllegalMessageError, trio.ClosedResourceError, OSError)

log = get_logger("keeper")


@dataclass(frozen=True)
class Duplicates:
    """Of the descriptors of one that sleeps; `data`: a data listener is among them."""

    fds: list[int]
    data: bool

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


class Keeper:
    """At most one keeper process; `idle` in seconds, 0 if nothing is to sleep.

    `run` must be running.
    """

    def __init__(self, path: Path, idle: float, nursery: trio.Nursery) -> None:
        self._path = path
        self._idle = idle
        self._nursery = nursery
        self._channel: Channel | None = None
        self._lock = trio.Lock()
        self._answered: trio.Event | None = None
        self._duplicates: dict[UUID, Duplicates] = {}
        self._waking: dict[UUID, trio.Event] = {}
        self._woken: dict[UUID, int] = {}  # the process that has woken it last, by instance
        self._offered: dict[UUID, tuple[Worker, Metadata, Endpoints]] = {}
        self._pid = -1
        self._closed = False

    async def connect(self) -> None:
        """Find the keeper that a daemon before this one has left, and what sleeps there."""
        try:
            channel = Channel.connect(self._path, Side.SUPERVISOR, State.KEEPING)
        except OSError:
            return
        try:
            with trio.fail_after(ANSWER_TIMEOUT):
                await waiting.meet(channel)
                sender = channel.sender
                if sender is None or serving_lock.holder(self._path) != sender.pid:
                    raise IllegalMessageError("whoever listens there is not the keeper")
        except (*_BROKEN, trio.TooSlowError) as error:
            channel.close()
            log.error("keeper-not-adopted", reason=printable(str(error)))
            return
        self._begin(channel, sender.pid)
        known, self._duplicates = self._duplicates, {}
        try:
            await self._ask(ReadSleepers())
        except KeeperLostError:
            self._duplicates = known | self._duplicates
            return
        for uuid, duplicates in known.items():
            duplicates.close()
            if uuid not in self._duplicates:
                self._tell_awake(uuid)
        log.info("keeper-adopted", pid=sender.pid, asleep=len(self._duplicates))

    async def offer(self, worker: Worker, metadata: Metadata, endpoints: Endpoints) -> None:
        """Let a worker that serves give its TPM to the keeper, once it has for a while."""
        if not self._idle:
            return
        self._offered[metadata.uuid] = worker, metadata, endpoints
        await trio.sleep(min(self._idle, _SPARED))
        if self._closed or self._offered.get(metadata.uuid, (None,))[0] is not worker:
            return  # another one serves by now
        with contextlib.suppress(KeeperLostError, *EXPECTED), _pair() as (ours, theirs):
            async with self._lock:
                if self._channel is None:
                    self._start()
                with serving_lock.joined(endpoints.adoption) as lock:
                    await self._send(Keep(metadata.uuid, metadata.name), [theirs, lock])
            memory = os.memfd_create("suspended", os.MFD_CLOEXEC)
            try:
                await worker.ask(UseKeeper(round(self._idle * 1000)), KeeperUsed, [ours, memory])
            finally:
                os.close(memory)

    async def has(self, uuid: UUID) -> bool:
        """Whether this TPM sleeps. Its worker has ended, or there was never one."""
        if self._channel is None:
            return False
        async with self._lock:
            with contextlib.suppress(KeeperLostError):
                await self._ask(ReadSleepers((uuid,)))
        return uuid in self._duplicates

    async def kept(self, uuid: UUID, ended: int) -> bool:
        """Whether a TPM sleeps, or another worker than `ended` has woken it already."""
        return await self.has(uuid) or self._woken.get(uuid, ended) != ended

    async def awakened(self, uuid: UUID, endpoints: Endpoints, on_event: OnEvent) -> Worker:
        """The worker that serves a TPM once it is awake. Raises WorkerEndedError, KeeperLostError.

        One that sleeps again before it was adopted is waited for once more.
        """
        while True:
            await self.awake(uuid)
            awakener = self._woken.get(uuid, -1)
            try:
                return await adopt(endpoints.adoption, on_event)
            except WorkerEndedError:
                if not await self.kept(uuid, awakener):
                    raise

    async def awake(self, uuid: UUID) -> None:
        """Wait until a worker goes on with a TPM that sleeps. Raises KeeperLostError."""
        if uuid not in self._duplicates:
            return
        event = self._waking.setdefault(uuid, trio.Event())
        await event.wait()
        if uuid in self._duplicates:
            raise KeeperLostError("the keeper of sleeping TPMs has ended")

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
        for uuid in list(self._duplicates):
            self._drop(uuid)

    def _start(self) -> None:
        """Start a keeper process and connect to it. Raises OSError, InUseError."""
        with (
            serving_lock.created(self._path) as lock,
            sockets.listen(self._path, mode=0o600, kind=socket.SOCK_SEQPACKET) as listener,
        ):
            pid = start_keeper([listener.fileno(), lock])
            channel = Channel.connect(self._path, Side.SUPERVISOR, State.KEEPING)
        log.info("keeper-started", pid=pid)
        self._begin(channel, pid)

    def _begin(self, channel: Channel, pid: int) -> None:
        self._channel, self._pid = channel, pid
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
            case Sleepers():
                if self._answered is not None:
                    self._answered.set()

    async def _lose(self, reason: str) -> None:
        """Find the keeper once more if it lives, or else have what slept there woken from here."""
        self._part()
        await self.connect()
        if self._channel is not None:
            return
        with contextlib.suppress(OSError):
            if serving_lock.holder(self._path) == self._pid:  # two would wake a TPM twice
                os.kill(self._pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.waitpid(self._pid, os.WNOHANG)  # noqa: ASYNC222
        log.error("keeper-lost", pid=self._pid, reason=reason, asleep=len(self._duplicates))
        for uuid in list(self._waking):
            self._tell_awake(uuid)
        for worker, metadata, endpoints in self._offered.values():
            self._nursery.start_soon(self.offer, worker, metadata, endpoints)

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
        if self._answered is not None:
            self._answered.set()

    async def _ask(self, question: ReadSleepers) -> None:
        """Ask, and wait until all answers are heeded."""
        self._answered = answered = trio.Event()
        try:
            await self._send(question, [])
            with trio.fail_after(ANSWER_TIMEOUT):
                await answered.wait()
        except trio.TooSlowError:
            await self._lose("it does not answer")
            raise KeeperLostError("the keeper does not answer") from None
        finally:
            self._answered = None

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
