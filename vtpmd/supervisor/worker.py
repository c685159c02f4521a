"""The supervisor's side of one worker: requests and answers, events, and its end."""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import trio

from vtpmd.ipc.channel import Channel, ChannelClosed, IllegalMessage
from vtpmd.ipc.messages import (
    Event,
    Failed,
    Message,
    RekeyFailed,
    Side,
    State,
    Status,
    StatusReply,
    Stop,
    Stopped,
)
from vtpmd.telemetry.log import get_logger

from . import waiting
from .errors import WorkerEndedError, WorkerFailedError, WorkerRefusedError
from .zygote import Child

ADOPTION_TIMEOUT = 10.0
KILL_TIMEOUT = 5.0
REPLY_TIMEOUT = 60.0  # longer than the longest TPM command (an RSA-4096 key) keeps a worker busy

log = get_logger("worker")
Reply = TypeVar("Reply")


class Worker:
    """One worker process. `run` must be running for `ask` to be answered."""

    def __init__(self, child: Child, on_event: Callable[[Event], None]) -> None:
        self.pid = child.pid
        self._channel = child.channel
        self._pidfd = child.pidfd
        self._on_event = on_event
        self._lock = trio.Lock()
        self._owed = 0  # answers that have not come yet, those nobody waits for any more included
        self._answers, self._incoming = trio.open_memory_channel[Message](1)

    def close(self) -> None:
        """Close our descriptors; the process goes on."""
        if self._channel.fileno() >= 0:
            trio.lowlevel.notify_closing(self._channel.fileno())
            self._channel.close()
        trio.lowlevel.notify_closing(self._pidfd)
        os.close(self._pidfd)

    async def run(self) -> None:
        """Receive messages until the worker closes its end of the channel."""
        with self._answers:
            while True:
                try:
                    message, _ = await waiting.receive(self._channel)
                except (ChannelClosed, trio.ClosedResourceError, OSError):
                    return  # OSError: closed by us, after it had become readable
                except IllegalMessage as error:
                    log.error("worker-illegal-message", pid=self.pid, reason=str(error))
                    return
                if isinstance(message, Event):
                    self._on_event(message)
                else:
                    await self._answers.send(message)

    async def ask(self, request: Message, expected: type[Reply], fds: Sequence[int] = ()) -> Reply:
        """Send one request and return its answer.

        Raises WorkerFailedError, WorkerEndedError, and WorkerRefusedError for requests that can be
        refused.
        """
        async with self._lock:
            try:
                with trio.fail_after(REPLY_TIMEOUT):
                    await waiting.send(self._channel, request, fds)
                    self._owed += 1
                    while self._owed:
                        answer = await self._incoming.receive()
                        self._owed -= 1
            except (ChannelClosed, IllegalMessage, OSError, trio.EndOfChannel):
                raise WorkerEndedError("the worker ended unexpectedly") from None
            except trio.TooSlowError:
                raise WorkerEndedError(
                    f"the worker did not answer in {REPLY_TIMEOUT:.0f} s"
                ) from None
        if isinstance(answer, Failed):
            raise WorkerFailedError(answer.kind, answer.reason)
        if isinstance(answer, RekeyFailed):
            raise WorkerRefusedError(f"not rekeyed: {answer.reason}")
        if not isinstance(answer, expected):
            raise WorkerEndedError("the worker answered out of turn")
        return answer

    async def stop(self, reason: str) -> None:
        """Let the worker shut its TPM down in order, store it and end. Raises as `ask`."""
        await self.ask(Stop(reason), Stopped)

    async def ended(self) -> None:
        """Wait until the process has ended."""
        await trio.lowlevel.wait_readable(self._pidfd)

    async def dismiss(self) -> None:
        """Kill the process and close our descriptors; its state directory is then free."""
        self.kill()
        with trio.move_on_after(KILL_TIMEOUT, shield=True):  # stuck in the kernel: we go on
            await self.ended()
        self.close()

    def kill(self) -> None:
        """Kill the process: whatever it has answered is already durable."""
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return


async def adopt(path: Path, on_event: Callable[[Event], None]) -> Worker:
    """The worker that outlived the previous daemon and listens on `path` for the next.

    Raises WorkerEndedError when there is none.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(sock, Side.SUPERVISOR, State.SERVING)
    pidfd = -1
    try:
        # The kernel says who answers: a worker that a guest has taken over must not be able to
        # name another process, which would then be killed in its place.
        channel.identify_sender()
        sock.setblocking(False)
        sock.connect(bytes(path))
        with trio.fail_after(ADOPTION_TIMEOUT):
            pid = await _answering(channel, on_event)
            pidfd = os.pidfd_open(pid)
            # An answer after pidfd_open proves that the pidfd is this worker's, not that of a
            # process which got its number.
            if await _answering(channel, on_event) != pid:
                raise ChannelClosed
    except (ChannelClosed, IllegalMessage, OSError, trio.TooSlowError) as error:
        channel.close()
        if pidfd >= 0:
            os.close(pidfd)
        raise WorkerEndedError(f"no worker answers on {path} ({type(error).__name__})") from None
    return Worker(Child(channel, pid, pidfd), on_event)


async def _answering(channel: Channel, on_event: Callable[[Event], None]) -> int:
    """The process id of the worker that answers a question."""
    await waiting.send(channel, Status())
    while True:
        message, _ = await waiting.receive(channel)
        if isinstance(message, StatusReply):
            assert channel.sender is not None
            return channel.sender
        if isinstance(message, Event):
            on_event(message)
