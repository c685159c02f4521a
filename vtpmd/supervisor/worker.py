"""The supervisor's side of one worker: requests and answers, events, and its end."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import trio

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.identity import NotCertified
from vtpmd.ipc.messages import (
    Event,
    Failed,
    HandOverRefused,
    Message,
    RekeyFailed,
    Status,
    StatusReply,
    Stop,
    Stopped,
    UnwrapKey,
)
from vtpmd.ipc.rules import Side, State
from vtpmd.ipc.version import PROTOCOL
from vtpmd.telemetry.log import get_logger

from . import serving_lock, waiting
from .errors import (
    HandOverRefusedError,
    WorkerEndedError,
    WorkerFailedError,
    WorkerRefusedError,
    WorkerSilentError,
)
from .events import OnEvent
from .zygote import WorkerProcess

ADOPTION_TIMEOUT = 10.0
KILL_TIMEOUT = 5.0
LAST_WORDS_TIMEOUT = 1.0  # for what a worker said before it ended
EXCESS_PAUSE = 0.05  # seconds that a worker which reports too much is not listened to
REPLY_TIMEOUT = 60.0  # longer than the longest TPM command (an RSA-4096 key) keeps a worker busy

log = get_logger("worker")
Reply = TypeVar("Reply")


class Worker:
    """One worker process. `run` must be running for `ask` to be answered.

    `strange` says why nothing can be asked of it: it is of a version that we do not understand. It
    can be stopped all the same.
    """

    def __init__(
        self, process: WorkerProcess, on_event: OnEvent, strange: str | None = None
    ) -> None:
        self.pid = process.pid
        self.strange = strange
        self.incoming = False
        """Whether it was told to wait for a TPM."""
        self.on_unwrap: Callable[[UnwrapKey], None] | None = None
        """Answers with `tell`; nobody does while it is None."""
        self._channel = process.channel
        self._pidfd = process.pidfd
        self._on_event = on_event
        self._heard_out = trio.Event()
        self._lock = trio.Lock()
        self._owed = 0  # answers that have not come yet, those nobody waits for any more included
        self._answer: Message | None = None
        self._answered: trio.Event | None = None  # while somebody waits

    def close(self) -> None:
        """Close our descriptors; the process goes on."""
        if self._channel.fileno() >= 0:
            trio.lowlevel.notify_closing(self._channel.fileno())
            self._channel.close()
        trio.lowlevel.notify_closing(self._pidfd)
        os.close(self._pidfd)

    async def run(self) -> None:
        """Receive messages until the worker closes its end of the channel."""
        try:
            if self.strange is None:
                await self._listen()
        finally:
            self._heard_out.set()
            if self._answered is not None:
                self._answered.set()

    async def _listen(self) -> None:
        while True:
            try:
                message, _ = await waiting.receive(self._channel)
                within_quota = self._heed(message)
            except (ChannelClosedError, trio.ClosedResourceError, OSError):
                return  # OSError: closed by us, after it had become readable
            except IllegalMessageError as error:
                # Whoever breaks the rules of the channel can no longer be asked or stopped in
                # order: another worker takes its place.
                log.error("worker-illegal-message", pid=self.pid, reason=str(error))
                self.kill()
                return
            del message  # the next one may be long in coming
            if not within_quota:
                await trio.sleep(EXCESS_PAUSE)  # it fills its own end of the channel meanwhile

    def _heed(self, message: Message) -> bool:
        """Pass on an event, a question, or the answer to whoever waits; False if beyond the quota.

        Raises IllegalMessageError for an answer to no question.
        """
        if isinstance(message, Event):
            return self._on_event(self.pid, message)
        if isinstance(message, UnwrapKey):
            if self.on_unwrap is not None:
                self.on_unwrap(message)
            return True
        if not self._owed:
            raise IllegalMessageError(f"{type(message).__name__} answers nothing")
        self._owed -= 1
        if not self._owed and self._answered is not None:
            self._answer = message
            self._answered.set()
        return True

    async def ask(self, request: Message, expected: type[Reply], fds: Sequence[int] = ()) -> Reply:
        """Send one request and return its answer.

        Raises WorkerFailedError, WorkerEndedError, and WorkerRefusedError for requests that can be
        refused.
        """
        if self.strange is not None:
            raise WorkerEndedError(self.strange)
        async with self._lock:
            try:
                with trio.fail_after(REPLY_TIMEOUT):
                    answer = await self._exchange(request, fds)
            except (ChannelClosedError, IllegalMessageError, OSError):
                raise WorkerEndedError("the worker ended unexpectedly") from None
            except trio.TooSlowError:
                raise WorkerSilentError(
                    f"the worker did not answer in {REPLY_TIMEOUT:.0f} s"
                ) from None
        if isinstance(answer, Failed | NotCertified):
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
            self._owed += 1
            if not self._heard_out.is_set():
                self._answered = trio.Event()
                await self._answered.wait()
            if self._answer is None:
                raise ChannelClosedError
            return self._answer
        finally:
            self._answer = self._answered = None

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
        await trio.lowlevel.wait_readable(self._pidfd)
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
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return


async def adopt(path: Path, on_event: OnEvent) -> Worker:
    """The living worker of the instance that listens on `path` for the next daemon.

    Raises WorkerEndedError when there is none. A worker of a version that we do not understand is
    left serving and becomes a `strange` one.

    What is believed: only what the kernel says. The process that answers runs as our own user and
    holds the serving lock of this instance, so it is the very one that was forked to serve it; a
    worker that a guest has taken over cannot name another process, which would then be ended in
    its place. What it reports of itself is shown, and decides nothing.
    """
    try:
        channel = Channel.connect(path, Side.SUPERVISOR, State.SERVING)
    except OSError as error:
        raise _nobody(path, error) from None
    pidfd = -1
    try:
        with trio.fail_after(ADOPTION_TIMEOUT):
            version = await waiting.meet(channel)
            pid, pidfd = _identify(channel, path)
            if PROTOCOL.understands(version):
                await _answer(channel, pid, on_event)
                return Worker(WorkerProcess(channel, pid, pidfd), on_event)
    except (ChannelClosedError, IllegalMessageError, OSError, trio.TooSlowError) as error:
        channel.close()
        if pidfd >= 0:
            os.close(pidfd)
        raise _nobody(path, error) from None
    channel.close()
    strange = (
        f"served on by a worker of another vtpmd, which speaks version {version} of the protocol "
        f"and not {PROTOCOL}: it can be stopped, and started again with this vtpmd"
    )
    return Worker(WorkerProcess(channel, pid, pidfd), on_event, strange)


def _nobody(path: Path, error: Exception) -> WorkerEndedError:
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    return WorkerEndedError(f"no worker answers on {path} ({text})")


def _identify(channel: Channel, path: Path) -> tuple[int, int]:
    """Process id and pidfd of who has greeted. Raises IllegalMessageError unless it is the worker.

    The lock is looked at last: its holder lives, so the pidfd is not that of a later process with
    the same number.
    """
    sender = channel.sender
    if sender is None or sender.uid != os.geteuid():
        raise IllegalMessageError(f"{sender} is there, which is not of our own user")
    pidfd = os.pidfd_open(sender.pid)
    try:
        if serving_lock.holder(path) != sender.pid:
            raise IllegalMessageError(f"{sender} is there, which does not serve this instance")
    except (IllegalMessageError, OSError):
        os.close(pidfd)
        raise
    return sender.pid, pidfd


async def _answer(channel: Channel, pid: int, on_event: OnEvent) -> None:
    """Wait until the worker has answered a question."""
    await waiting.send(channel, Status())
    while True:
        message, _ = await waiting.receive(channel)
        if isinstance(message, StatusReply):
            return
        if isinstance(message, Event):
            on_event(pid, message)
