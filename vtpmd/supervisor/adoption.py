"""Workers that outlived their daemon: found by the lock they hold, and met again."""

import os
import signal
from pathlib import Path

import trio

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import Event, Status, StatusReply
from vtpmd.ipc.rules import Side, State
from vtpmd.ipc.version import PROTOCOL
from vtpmd.linux.scarcity import is_scarcity
from vtpmd.telemetry.log import get_logger

from . import serving_lock, waiting
from .errors import WorkerEndedError
from .events import OnEvent
from .worker import KILL_GRACE, Worker, stranger
from .zygote import WorkerProcess

ADOPTION_TIMEOUT = 10.0
GREETING_TIMEOUT = 5.0
_PAUSE = 0.1
_IN_VAIN = 0.5  # seconds within which a worker ends that has been left without its TPM

log = get_logger("adoption")


async def adopt(path: Path, on_event: OnEvent) -> Worker:
    """The living worker of the instance that listens on `path` for the next daemon.

    Raises WorkerEndedError when there is none. A worker of a version that we do not understand is
    left serving and becomes a `strange` one; one that holds the lock and does not answer is silent,
    and met when it does. Where the host is short of descriptors, that is waited for.

    What is believed: only what the kernel says. The process that answers runs as our own user and
    holds the serving lock of this instance, so it is the very one that was forked to serve it; a
    worker that a guest has taken over cannot name another process, which would then be ended in
    its place. What it reports of itself is shown, and decides nothing.
    """
    with trio.move_on_after(ADOPTION_TIMEOUT):
        while True:
            try:
                return await _adopt(path, on_event)
            except OSError as error:
                if not is_scarcity(error):
                    raise _nobody(path, error) from None
            await trio.sleep(_PAUSE)
    raise _nobody(path, trio.TooSlowError())


async def _adopt(path: Path, on_event: OnEvent) -> Worker:
    """The same. Raises OSError, too."""
    channel = Channel.connect(path, Side.SUPERVISOR, State.SERVING)
    pidfd = -1
    try:
        try:
            with trio.fail_after(GREETING_TIMEOUT):
                version = await waiting.meet(channel)
        except trio.TooSlowError:
            if (held := _holder(path)) is None:
                raise
            pid, pidfd = held
            return Worker.unmet(WorkerProcess(channel, pid, pidfd), on_event)
        pid, pidfd = _identify(channel, path)
        if PROTOCOL.understands(version):
            with trio.fail_after(ADOPTION_TIMEOUT):
                await _answer(channel, pid, on_event)
            return Worker(WorkerProcess(channel, pid, pidfd), on_event)
    except BaseException as error:
        channel.close()
        if pidfd >= 0:
            os.close(pidfd)
        if isinstance(error, ChannelClosedError | IllegalMessageError | trio.TooSlowError):
            raise _nobody(path, error) from None
        raise
    channel.close()
    return Worker(WorkerProcess(channel, pid, pidfd), on_event, stranger(version))


async def survivor(path: Path, on_event: OnEvent) -> Worker | None:
    """The worker that has gone on with what a keeper had which has ended, None if none has.

    Whoever may have got it from the keeper holds the serving lock since before, and ends soon if it
    has not. Raises OSError, and WorkerEndedError for one that lives and can't be adopted.
    """
    if (held := _holder(path)) is None:
        return None
    _, pidfd = held
    try:
        with trio.move_on_after(_IN_VAIN):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
    if _holder(path) is None:
        return None
    return await adopt(path, on_event)


def _nobody(path: Path, error: Exception) -> WorkerEndedError:
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    return WorkerEndedError(f"no worker answers on {path} ({text})")


def _holder(path: Path) -> tuple[int, int] | None:
    """Process id and pidfd of who holds the serving lock, None if nobody does. Raises OSError.

    The lock is looked at again, so that the pidfd is not that of a later process of this number.
    """
    try:
        if (pid := serving_lock.holder(path)) is None:
            return None
        pidfd = os.pidfd_open(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    if serving_lock.holder(path) == pid:
        return pid, pidfd
    os.close(pidfd)
    return None


async def end_holder(path: Path) -> int | None:
    """Kill who holds the serving lock of an instance that nobody serves; its process id.

    Raises OSError.
    """
    if (held := _holder(path)) is None:
        return None
    pid, pidfd = held
    try:
        log.warning("worker-killed", pid=pid, reason="it holds an instance that is stopped")
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        with trio.move_on_after(KILL_GRACE):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
    return pid


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
