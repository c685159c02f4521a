"""The keeper's process: started, found again by the next daemon, replaced by another, and its end.

What is believed of it is what the kernel says: it runs as our own user and holds the lock beside
its socket.
"""

import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import trio

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.rules import Side, State
from vtpmd.linux import sockets
from vtpmd.linux.scarcity import is_scarcity
from vtpmd.spawn.process import start_keeper

from . import serving_lock, waiting

ANSWER_TIMEOUT = 10.0
_PREPARED = 60.0  # seconds that a keeper's zygote has to be loaded, on a busy host
_ENDS = 60.0  # seconds that a process which is not needed any more has to end
_PAUSE = 0.1
_LOOKS = 5  # at whose the lock is, which has two holders for a moment when a keeper is replaced


class NoKeeperError(Exception):
    """Whoever listens there is not the keeper, or does not answer; the text says why."""


@dataclass(eq=False)
class KeeperProcess:
    """A keeper: our `channel` to it, its process id and pidfd."""

    channel: Channel
    pid: int
    pidfd: int

    def kill(self) -> None:
        """End it: two keepers would wake a TPM twice."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def replaced(self) -> "KeeperProcess":
        """Who speaks on its channel now, in its place. Raises OSError."""
        sender = self.channel.sender
        if sender is None:
            raise ProcessLookupError("nobody has spoken")
        return KeeperProcess(self.channel, sender.pid, os.pidfd_open(sender.pid))

    def forget(self) -> None:
        """Have nothing more to do with the process; the channel stays."""
        with contextlib.suppress(OSError):  # it may have been started elsewhere
            os.waitpid(self.pid, os.WNOHANG)
        os.close(self.pidfd)

    async def ends(self) -> None:
        """Wait for it to end, not for ever, and forget it."""
        try:
            with trio.move_on_after(_ENDS):
                await trio.lowlevel.wait_readable(self.pidfd)
        finally:
            self.forget()


def start(path: Path) -> KeeperProcess:
    """Start one that listens on `path`. Raises OSError, InUseError."""
    with (
        serving_lock.created(path) as lock,
        sockets.listen(path, mode=0o600, kind=socket.SOCK_SEQPACKET) as listener,
    ):
        pid = start_keeper([listener.fileno(), lock])
        pidfd = os.pidfd_open(pid)
        try:
            channel = Channel.connect(path, Side.SUPERVISOR, State.KEEPING)
        except OSError:
            os.close(pidfd)
            raise
    return KeeperProcess(channel, pid, pidfd)


async def find(path: Path) -> KeeperProcess | None:
    """The one that a daemon before this one has left, None if nobody listens there.

    A scarcity here is waited for. Raises NoKeeperError.
    """
    for _ in range(_LOOKS):
        if (channel := await _reach(path)) is None:
            return None
        pidfd = -1
        try:
            with trio.fail_after(ANSWER_TIMEOUT):
                await waiting.meet(channel)
            if (sender := channel.sender) is not None:
                pidfd = os.pidfd_open(sender.pid)
                if serving_lock.holder(path) == sender.pid:
                    return KeeperProcess(channel, sender.pid, pidfd)
        except (ChannelClosedError, IllegalMessageError, OSError, trio.TooSlowError) as error:
            reason, again = str(error), not isinstance(error, trio.TooSlowError)
        else:
            reason, again = "whoever listens there is not the keeper", True
        channel.close()
        if pidfd >= 0:
            os.close(pidfd)
        if not again:
            break
        await trio.sleep(_PAUSE)
    raise NoKeeperError(reason)


async def _reach(path: Path) -> Channel | None:
    """A channel to whoever listens, None if nobody does."""
    with trio.move_on_after(ANSWER_TIMEOUT):
        while True:
            try:
                return Channel.connect(path, Side.SUPERVISOR, State.KEEPING)
            except OSError as error:
                if not is_scarcity(error):
                    return None
            await trio.sleep(_PAUSE)
    return None


@contextlib.asynccontextmanager
async def successor(nursery: trio.Nursery) -> AsyncIterator[int]:
    """Our end of the channel to a new keeper that is prepared to go on in the place of another.

    It ends by itself if nobody gives way to it. Raises OSError, NoKeeperError.
    """
    ours, theirs = Channel.pair()
    with ours:
        with theirs:
            pid = start_keeper([theirs.fileno()])
        nursery.start_soon(_reap, pid)
        with trio.move_on_after(_PREPARED) as patience:
            await trio.lowlevel.wait_readable(ours)
        if patience.cancelled_caught:
            raise NoKeeperError("a new one was not loaded in time")
        yield ours.fileno()


async def _reap(pid: int) -> None:
    """Wait for a process that was started here to end, as long as we live."""
    pidfd = os.pidfd_open(pid)
    try:
        await trio.lowlevel.wait_readable(pidfd)
        with contextlib.suppress(OSError):
            os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222
    finally:
        os.close(pidfd)
