"""The supervisor's side of the keeper: what sleeps there, and who is woken.

The keeper outlives the daemon. It is started when the first worker could sleep, and the next daemon
finds it on its socket; one of another version has another keeper go on in its place. Duplicates of
what it holds lie here, so that its end loses nothing.
"""

import contextlib
from collections import deque
from dataclasses import dataclass, field
from uuid import UUID

import trio

from vtpmd import __version__
from vtpmd.api.text import printable
from vtpmd.config.schema import Configuration
from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import (
    Asleep,
    Awake,
    Bequest,
    ForgetBequest,
    Keep,
    KeeperNotReplaced,
    KeeperReplaced,
    Message,
    NotAwake,
    ReadBequest,
    ReadSleepers,
    ReplaceKeeper,
    Sleepers,
    WakeUp,
)
from vtpmd.linux.descriptors import close_fds
from vtpmd.telemetry.log import get_logger

from . import keeper_process, waiting
from .adoption import adopt
from .endpoints import Endpoints
from .errors import KeeperLostError, WorkerEndedError
from .events import OnEvent
from .keeper_offers import KeeperOffers
from .keeper_process import ANSWER_TIMEOUT, KeeperProcess, NoKeeperError
from .machines import process
from .worker import Worker

_PAUSE = 0.1
_REPLACED = 30.0  # seconds in which one keeper gives way to another, or does not
_BROKEN = (ChannelClosedError, IllegalMessageError, trio.ClosedResourceError, OSError)

log = get_logger("keeper")


@dataclass(frozen=True)
class Duplicates:
    """Of the descriptors of one that sleeps; `data`: a data listener is among them.

    `machine`: the process that stays connected; 0: none.
    """

    fds: list[int]
    data: bool
    machine: int

    def close(self) -> None:
        close_fds(self.fds)


@dataclass(eq=False)
class Outcome:
    """Why a keeper was not replaced by another, empty if it was, once that is `known`."""

    reason: str = "no answer came"
    known: trio.Event = field(default_factory=trio.Event)

    def become(self, reason: str) -> None:
        """It is known now, if it was not before."""
        if not self.known.is_set():
            self.reason = reason
        self.known.set()


class Keeper:
    """At most one keeper process, none if there is nothing to keep.

    `offers`: which workers know of it.
    """

    def __init__(self, configuration: Configuration, nursery: trio.Nursery) -> None:
        self._path = configuration.keeper_socket
        self._nursery = nursery
        self._process: KeeperProcess | None = None  # which may have ended
        self._there = False  # whether it hears us
        self._version = ""
        self._lock = trio.Lock()
        self._questions = deque[trio.Event]()  # each is set when it is answered, or nobody will
        self._duplicates: dict[UUID, Duplicates] = {}
        self._waking: dict[UUID, trio.Event] = {}
        self._woken: dict[UUID, int] = {}  # the process that has woken it and was not met yet
        self._bequests: dict[UUID, list[int]] = {}
        self._told = set[UUID]()  # of which the keeper has said that they sleep
        self._replacement = trio.Lock()
        self._outcome = Outcome()  # of the last one
        self._strange = -1  # the process that was asked to give way and does not know how
        self.offers = KeeperOffers(configuration, nursery, self)

    @property
    def there(self) -> bool:
        """Whether there is a keeper process that hears us."""
        return self._there

    async def connect(self) -> None:
        """Find the keeper that a daemon before this one has left, and what sleeps there."""
        try:
            found = await keeper_process.find(self._path)
        except NoKeeperError as error:
            log.error("keeper-not-adopted", reason=printable(str(error)))
            return
        if found is None:
            return
        self._begin(found)
        self._told = set()
        try:
            await self._ask(ReadSleepers())
        except KeeperLostError:
            return
        for uuid in self._duplicates.keys() - self._told:
            self._drop(uuid)
            self._tell_awake(uuid)
        log.info(
            "keeper-adopted",
            pid=found.pid,
            version=self._version,
            asleep=len(self._duplicates),
        )
        if self._version != __version__ and found.pid != self._strange:
            self._strange = found.pid
            self._nursery.start_soon(self._replace_other_version)

    async def introduce(self, order: Keep, fds: list[int]) -> None:
        """Tell the keeper of a worker that serves, and start one for that if there is none.

        Raises KeeperLostError, OSError, InUseError.
        """
        async with self._lock:
            while self._process is not None:  # it lives: two would be too many
                if self._there:
                    break
                await trio.sleep(_PAUSE)
            else:
                started = keeper_process.start(self._path)
                log.info("keeper-started", pid=started.pid)
                self._begin(started)
                self._version = __version__
            await self._send(order, fds)

    async def replace(self) -> None:
        """Have a new keeper, of this daemon's version, go on in the place of the one there is.

        Nothing happens if there is none. Who sleeps there goes on sleeping. Raises KeeperLostError:
        the one there is goes on, if it has not ended.
        """
        async with self._replacement:
            if not self._there:
                return
            outcome = self._outcome = Outcome()
            try:
                async with keeper_process.successor(self._nursery) as channel:
                    await self._send(ReplaceKeeper(), [channel])
            except (NoKeeperError, OSError) as error:
                raise KeeperLostError(f"no other keeper can be had: {error}") from None
            with trio.move_on_after(_REPLACED):
                await outcome.known.wait()
            if outcome.reason:
                raise KeeperLostError(f"the keeper was not replaced: {outcome.reason}")

    async def _replace_other_version(self) -> None:
        try:
            await self.replace()
        except KeeperLostError as error:
            log.warning("keeper-not-replaced", version=self._version, reason=str(error))

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
            while self._process is not None:  # it lives, and knows
                with contextlib.suppress(KeeperLostError):
                    await self._ask(ReadSleepers((uuid,)))
                    break
                await trio.sleep(_PAUSE)
        return uuid in self._duplicates

    async def kept(self, uuid: UUID) -> bool:
        """Whether a TPM sleeps, or has and was woken by a worker that was not met yet."""
        return await self.has(uuid) or uuid in self._woken

    def machine(self, uuid: UUID, otherwise: int) -> int:
        """The process that stays connected to a TPM that sleeps, 0 if none does.

        For one that was woken it is as it was `otherwise`.
        """
        return self._duplicates[uuid].machine if uuid in self._duplicates else otherwise

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
            if self._process is None:
                raise KeeperLostError("the keeper of sleeping TPMs has ended")
            await self._waking.setdefault(uuid, trio.Event()).wait()

    async def wake(self, uuid: UUID) -> None:
        """Have the keeper wake it; `awake` tells when it is. Raises KeeperLostError."""
        await self._send(WakeUp(uuid), [])

    def take(self, uuid: UUID) -> Duplicates:
        """The duplicates of the descriptors of one whose keeper has ended; the caller's now."""
        return self._duplicates.pop(uuid)

    def close(self) -> None:
        """Leave the keeper alone."""
        self.offers.close()
        self._part()
        self._forget_process()
        for uuid in list(self._duplicates):
            self._drop(uuid)

    def _begin(self, found: KeeperProcess) -> None:
        self._forget_process()
        self._process, self._there = found, True
        self._nursery.start_soon(self._listen, found)

    async def _listen(self, found: KeeperProcess) -> None:
        channel = found.channel
        try:
            while True:
                message, fds = await waiting.receive(channel)
                self._heed(message, fds)
        except _BROKEN as error:
            if self._there and self._process is not None and self._process.channel is channel:
                await self._lose(printable(str(error)))

    def _heed(self, message: Message, fds: list[int]) -> None:
        match message:
            case Asleep():
                self._told.add(message.uuid)
                self._drop(message.uuid)
                self.offers.withdraw(message.uuid)
                self._woken.pop(message.uuid, None)
                machine = process(message.machine)
                self._duplicates[message.uuid] = Duplicates(fds, message.data, machine)
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
                self._version = printable(message.version)
                self._answered()
            case KeeperReplaced():
                self._follow(printable(message.version))
            case KeeperNotReplaced():
                self._outcome.become(printable(message.reason))

    def _follow(self, version: str) -> None:
        """Another process is the keeper now, at the other end of the same channel."""
        assert self._process is not None
        former, self._process = self._process, self._process.replaced()
        self._version = version
        self._nursery.start_soon(former.ends)
        log.info("keeper-replaced", pid=self._process.pid, predecessor=former.pid, version=version)
        self._outcome.become("")

    async def _lose(self, reason: str) -> None:
        """Find the keeper once more if it lives, or else have what slept there woken from here."""
        self._part()
        await trio.sleep(_PAUSE)  # what it was short of may be there again
        if not self._there:
            await self.connect()
        self._outcome.become(f"it was lost, {reason}")
        if self._there or self._process is None:
            return
        lost, self._process = self._process, None
        lost.kill()
        self._nursery.start_soon(lost.ends)
        log.error("keeper-lost", pid=lost.pid, reason=reason, asleep=len(self._duplicates))
        for uuid in list(self._waking):
            self._tell_awake(uuid)
        self.offers.all_lost()

    def _answered(self) -> None:
        if self._questions:
            self._questions.popleft().set()

    def _forget_process(self) -> None:
        if self._process is not None:
            self._process.forget()
        self._process = None

    def _drop(self, uuid: UUID) -> None:
        if (duplicates := self._duplicates.pop(uuid, None)) is not None:
            duplicates.close()

    def _tell_awake(self, uuid: UUID) -> None:
        if (event := self._waking.pop(uuid, None)) is not None:
            event.set()

    def _part(self) -> None:
        if self._there and self._process is not None:
            trio.lowlevel.notify_closing(self._process.channel.fileno())
            self._process.channel.close()
        self._there = False
        while self._questions:
            self._answered()

    async def _ask(self, question: ReadSleepers | ReadBequest) -> None:
        """Ask, and wait until all answers are heeded. Raises KeeperLostError."""
        asked, answered = self._channel, trio.Event()
        await self._send(question, [])
        self._questions.append(answered)
        try:
            with trio.fail_after(ANSWER_TIMEOUT):
                await answered.wait()
        except trio.TooSlowError:
            await self._lose("it does not answer")
        if self._channel is not asked:
            raise KeeperLostError("the keeper has not answered")

    @property
    def _channel(self) -> Channel | None:
        return self._process.channel if self._there and self._process is not None else None

    async def _send(self, message: Message, fds: list[int]) -> None:
        if not self._there or self._process is None:
            raise KeeperLostError("there is no keeper")
        try:
            with trio.fail_after(ANSWER_TIMEOUT):
                await waiting.send(self._process.channel, message, fds)
        except (*_BROKEN, trio.TooSlowError):
            await self._lose("it does not listen")
            raise KeeperLostError("the keeper does not listen") from None
