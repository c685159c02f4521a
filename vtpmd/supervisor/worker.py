"""The supervisor's side of one worker: requests and answers, events, and its end."""

import math
import os
import signal
from collections.abc import Callable, Sequence
from typing import TypeVar

import trio

from vtpmd import __version__
from vtpmd.api.text import printable
from vtpmd.ipc.channel import ChannelClosedError, IllegalMessageError
from vtpmd.ipc.identity import NotCertified, ReadInstalled
from vtpmd.ipc.messages import (
    Admit,
    Event,
    Failed,
    HandOverRefused,
    LockoutNotReset,
    Message,
    ReadPcrs,
    RekeyFailed,
    Status,
    StatusReply,
    Stop,
    Stopped,
    UnwrapKey,
)
from vtpmd.ipc.version import PROTOCOL, Version
from vtpmd.telemetry.log import get_logger

from . import lazily, readiness, waiting
from .counts import Counts
from .errors import (
    HandOverRefusedError,
    WorkerEndedError,
    WorkerFailedError,
    WorkerRefusedError,
    WorkerSilentError,
)
from .events import OnEvent
from .machines import process
from .zygote import WorkerProcess

KILL_TIMEOUT = 5.0
KILL_GRACE = 0.4  # until a killed process is said not to end
LAST_WORDS_TIMEOUT = 1.0  # for what a worker said before it ended
EXCESS_PAUSE = 0.05  # seconds that a worker which reports too much is not listened to
REPLY_TIMEOUT = 60.0  # longer than the longest TPM command (an RSA-4096 key) keeps a worker busy
LOOKS = (ReadInstalled, ReadPcrs, Status)
"""Questions of somebody who only looks, and does not wait long."""
LOOK_TIMEOUT = 1.2
PROMPT = (*LOOKS, Admit, Stop)
"""What a worker answers whatever its TPM is doing."""
PATIENCE = 5.0  # seconds after which a worker that owes such an answer counts as silent
INTERVAL = 30.0  # seconds between two questions of the watch
MAX_VERSION = 32  # characters of what it says of its version
MAX_TROUBLE = 300  # characters of what a worker says of its storage

log = get_logger("worker")
Reply = TypeVar("Reply")


class Worker:
    """One worker process. `run` must have been started for `ask` to be answered.

    `strange` says why nothing can be asked of it: it is of a version that we do not understand. It
    can be stopped all the same.
    """

    __slots__ = (
        "_answer",
        "_answered",
        "_asked",
        "_channel",
        "_due",
        "_heard_out",
        "_known_silent",
        "_listening",
        "_lock",
        "_met",
        "_on_event",
        "_other_version",
        "_overdue",
        "_owed",
        "_pidfd",
        "_storage",
        "counts",
        "fresh",
        "incoming",
        "lockout",
        "machine",
        "on_unwrap",
        "pid",
        "strange",
    )

    def __init__(
        self, process: WorkerProcess, on_event: OnEvent, strange: str | None = None
    ) -> None:
        self.pid = process.pid
        self.strange = strange
        self.incoming = False
        """Whether it was told to wait for a TPM."""
        self.lockout = False
        """Whether its TPM is in lockout, as it said last."""
        self.machine = 0
        """Who has attached a data descriptor, as it said last (`StatusReply`)."""
        self.counts: Counts | None = None
        """What it said last that it has counted."""
        self.fresh = True
        """Whether all that it has counted was under this daemon."""
        self.on_unwrap: Callable[[Worker, UnwrapKey], None] | None = None
        """Answers with `tell`; nobody does while it is None."""
        self._channel = process.channel
        self._pidfd = process.pidfd
        self._on_event = on_event
        self._heard_out = lazily.Event()
        self._lock = lazily.Lock()
        self._owed = 0  # answers that have not come yet, those nobody waits for any more included
        self._asked = self._overdue = (
            0.0  # when the question was that has no answer yet; since when
        )
        self._due = trio.current_time() + self.pid % INTERVAL  # when the watch asks next
        self._storage = "available"
        self._other_version = ""  # of vtpmd, as it said last, unless it is ours
        self._met = True
        self._known_silent = False
        self._listening = -1  # the channel's descriptor: it closes itself when a rule is broken
        self._answer: Message | None = None
        self._answered: trio.Event | None = None  # while somebody waits

    @classmethod
    def unmet(cls, process: WorkerProcess, on_event: OnEvent) -> "Worker":
        """One that has not greeted, and counts as silent until it does."""
        worker = cls(process, on_event)
        worker._met, worker._owed = False, 1
        worker._asked = worker._overdue = trio.current_time()
        return worker

    def close(self) -> None:
        """Close our descriptors; the process goes on."""
        self._hear_no_more()
        self._channel.close()
        readiness.wake(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1

    async def run(self) -> None:
        """Begin to receive messages: from then on until the worker closes its end of the channel.

        That takes as long as the worker takes to greet, as a rule no time at all.
        """
        try:
            if not self._met:
                await self._meet()
        except BaseException:
            self._hear_no_more()
            raise
        if self.strange is None and self._channel.fileno() >= 0:
            self._listening = self._channel.fileno()
            readiness.listen(self._listening, self._hear)
        else:
            self._hear_no_more()

    def _hear(self) -> float:
        """Receive a message; the seconds until the next one may be received."""
        try:
            message, _ = self._channel.receive()
            within_quota = self._heed(message)
        except BlockingIOError:
            return 0.0
        except (ChannelClosedError, OSError):
            self._hear_no_more()
            return 0.0
        except IllegalMessageError as error:
            # Whoever breaks the rules of the channel can no longer be asked or stopped in
            # order: another worker takes its place.
            log.error("worker-illegal-message", pid=self.pid, reason=str(error))
            self.kill()
            self._hear_no_more()
            return 0.0
        return 0.0 if within_quota else EXCESS_PAUSE  # it fills its own end meanwhile

    def _hear_no_more(self) -> None:
        readiness.ignore(self._listening)
        self._listening = -1
        self._heard_out.set()
        if self._answered is not None:
            self._answered.set()

    def _heed(self, message: Message) -> bool:
        """Pass on an event, a question, or the answer to whoever waits; False if beyond the quota.

        Raises IllegalMessageError for an answer to no question.
        """
        if isinstance(message, Event):
            return self._on_event(self.pid, message)
        if isinstance(message, StatusReply):
            self._storage = printable(message.storage[:MAX_TROUBLE])
            self.counts = Counts.of(message)
            self.machine = process(message.machine)
            ours = message.version == __version__
            self._other_version = "" if ours else printable(message.version[:MAX_VERSION])
            self.lockout = message.lockout
        if isinstance(message, UnwrapKey):
            if self.on_unwrap is not None:
                self.on_unwrap(self, message)
            return True
        if not self._owed:
            raise IllegalMessageError(f"{type(message).__name__} answers nothing")
        self._owed -= 1
        self._asked = trio.current_time()
        if not self._owed and self._answered is not None:
            self._answer = message
            self._answered.set()
        return True

    async def ask(self, request: Message, expected: type[Reply], fds: Sequence[int] = ()) -> Reply:
        """Send one request and return its answer.

        Raises WorkerFailedError, WorkerEndedError, and WorkerRefusedError for requests that can be
        refused. WorkerSilentError: at once from a worker that is silent.
        """
        if self.strange is not None:
            raise WorkerEndedError(self.strange)
        looks = isinstance(request, LOOKS)
        patience = LOOK_TIMEOUT if looks else REPLY_TIMEOUT
        if self.silent or (looks and self._owed and self._waited >= patience):
            raise WorkerSilentError(self._unanswered)
        try:
            with trio.fail_after(patience):
                async with self._lock:
                    answer = await self._exchange(request, fds)
        except (ChannelClosedError, IllegalMessageError, OSError):
            raise WorkerEndedError("the worker ended unexpectedly") from None
        except trio.TooSlowError:
            raise WorkerSilentError(f"the worker did not answer in {patience:.1f} s") from None
        if isinstance(answer, Failed | NotCertified | LockoutNotReset):
            raise WorkerFailedError(answer.kind, answer.reason)
        if isinstance(answer, HandOverRefused):
            raise HandOverRefusedError(answer.reason)
        if isinstance(answer, RekeyFailed):
            raise WorkerRefusedError(f"not rekeyed: {answer.reason}")
        if not isinstance(answer, expected):
            raise WorkerEndedError("the worker answered out of turn")
        return answer

    async def _exchange(self, request: Message, fds: Sequence[int]) -> Message:
        """The answer to a request. Raises as `Channel.send`, ChannelClosedError if none comes."""
        try:
            await waiting.send(self._channel, request, fds)
            self._owe(request)
            if not self._heard_out.is_set():
                self._answered = trio.Event()
                await self._answered.wait()
            if self._answer is None:
                raise ChannelClosedError
            return self._answer
        finally:
            self._answer = self._answered = None

    def _owe(self, request: Message) -> None:
        """An answer to this is waited for."""
        if not self._owed:
            self._asked = trio.current_time()
            prompt = isinstance(request, PROMPT)
            self._overdue = self._asked + (PATIENCE if prompt else REPLY_TIMEOUT)
        self._owed += 1

    @property
    def silent(self) -> bool:
        """Whether an answer is overdue: the process hangs, or the host does not let it run."""
        return bool(self._owed) and trio.current_time() >= self._overdue

    @property
    def _waited(self) -> float:
        """For how many seconds the answer that comes next is waited for."""
        return trio.current_time() - self._asked

    @property
    def _unanswered(self) -> str:
        return f"its worker (process {self.pid}) has not answered for {self._waited:.0f} s"

    @property
    def trouble(self) -> str:
        """What is wrong with it, and what to do, for people; empty if nothing is."""
        if self.strange is not None and not self._met:
            return self.strange
        if self.silent:
            return f"{self._unanswered}; a stop ends it"
        if self._storage not in ("available", "unknown"):
            return f"its state cannot be stored: {self._storage}"
        if self._other_version:
            return f"its worker is of vtpmd {self._other_version}: `vtpmctl upgrade` it"
        return ""

    def inquire(self) -> None:
        """Ask how it is, without waiting for the answer, unless an answer is waited for."""
        if self._owed or self._lock.locked() or self.strange is not None or not self._met:
            return
        self._due = trio.current_time() + INTERVAL
        try:
            self._channel.send(Status())
        except (BlockingIOError, ChannelClosedError, IllegalMessageError, OSError):
            return  # it ends, or is about to
        self._owe(Status())

    def look(self) -> bool:
        """The same, if it is time to; whether it has fallen silent since, or answers again."""
        if trio.current_time() >= self._due:
            self.inquire()
        known, self._known_silent = self._known_silent, self.silent
        return known is not self._known_silent

    @property
    def due(self) -> float:
        """When to look next: to ask again, or at an answer that is overdue then."""
        if self._owed:
            return math.inf if self._known_silent else self._overdue
        return self._due if self.strange is None else math.inf

    async def _meet(self) -> None:
        """Meet a worker that was silent when it was adopted."""
        try:
            version = await waiting.meet(self._channel)
            sender = self._channel.sender
            if sender is None or (sender.uid, sender.pid) != (os.geteuid(), self.pid):
                raise IllegalMessageError(f"{sender} is there, which does not serve this instance")
            if PROTOCOL.understands(version):
                self._owed, self._met = 0, True
                self.inquire()
            else:
                self.strange = stranger(version)
        except (
            ChannelClosedError,
            IllegalMessageError,
            trio.ClosedResourceError,
            OSError,
        ) as error:
            self.strange = f"served on by a worker that nobody reaches: {error}"

    async def tell(self, answer: Message) -> None:
        """Answer a question of the worker's. Raises ChannelClosedError, IllegalMessageError."""
        await waiting.send(self._channel, answer)

    async def stop(self, reason: str, force: bool = False) -> None:
        """Let it shut its TPM down in order, store it and end, as `Stop` says. Raises as `ask`."""
        if self.strange is None:
            await self.ask(Stop(reason, force), Stopped)
        else:
            self._signal(signal.SIGTERM)  # means the same to every version

    async def ended(self) -> None:
        """Wait until the process has ended, and what it said last is read."""
        await readiness.wait_readable(self._pidfd)
        with trio.move_on_after(LAST_WORDS_TIMEOUT):
            await self._heard_out.wait()

    async def dismiss(self) -> None:
        """Kill the process and close our descriptors; its instance is then free."""
        self.kill()
        with trio.move_on_after(KILL_TIMEOUT, shield=True):  # stuck in the kernel: we go on
            await self.ended()
        self.close()

    def kill(self) -> None:
        """Kill the process: whatever it has answered is already durable."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd < 0:
            return  # closed: the number may be another's by now
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return


def stranger(version: Version) -> str:
    """What is said of a worker that speaks a version of the protocol that we do not."""
    return (
        f"served on by a worker of another vtpmd, which speaks version {version} of the protocol "
        f"and not {PROTOCOL}: it can be stopped, and started again with this vtpmd"
    )
