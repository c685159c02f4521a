"""The supervisor's side of the zygote: a process that forks workers and knows no secret."""

import signal
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import trio

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError, VersionError
from vtpmd.ipc.messages import Exit, ReadExit, Spawn, Spawned, SpawnFailed, ZygoteReady
from vtpmd.ipc.rules import Side, State
from vtpmd.spawn.process import start_zygote
from vtpmd.telemetry.log import get_logger

from . import waiting
from .errors import SupervisorError

SPAWN_TIMEOUT = 30.0
WARMING_TIMEOUT = 30.0  # until the zygote has imported the engine
CLOSE_TIMEOUT = 5.0

_LOST = (ChannelClosedError, IllegalMessageError, trio.TooSlowError)

log = get_logger("zygote")
Answer = TypeVar("Answer")


class SpawnError(SupervisorError):
    """No worker could be started; the text says why."""


@dataclass(frozen=True)
class WorkerProcess:
    """A fresh worker: its channel (state NEW), process id and pidfd."""

    channel: Channel
    pid: int
    pidfd: int


class Zygote:
    """Starts the zygote process, and a fresh one whenever the old one has ended.

    `merge_memory`: the kernel may merge its memory and that of the workers.
    """

    def __init__(self, *, merge_memory: bool = False) -> None:
        self._options = ["merge"] if merge_memory else []
        self._lock = trio.Lock()
        self._channel: Channel
        self._process: subprocess.Popen[bytes]
        self._models: ZygoteReady | None
        self.start()

    def start(self) -> None:
        """Start a zygote: called before trio runs and before any secret is read."""
        ours, theirs = Channel.pair()
        try:
            with theirs:
                self._process = start_zygote(theirs.fileno(), self._options)
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        self._channel = Channel(ours, Side.SUPERVISOR, State.WARMING)
        self._models = None

    def close(self) -> None:
        """Let the zygote end; workers live on."""
        self._channel.close()
        try:
            self._process.wait(CLOSE_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """The process id of the present zygote."""
        return self._process.pid

    async def models(self) -> ZygoteReady:
        """Which profiles and PCR banks a TPM can be made with. Raises SpawnError, OSError."""
        return await self._persistently(self._ready)

    async def spawn(self, uuid: UUID, name: str, serving_lock: int | None = None) -> WorkerProcess:
        """Fork a worker; one that is to serve takes the `serving_lock`. Raises SpawnError."""
        return await self._persistently(lambda: self._spawn(uuid, name, serving_lock))

    async def exit_of(self, pid: int) -> str:
        """How the worker `pid`, which has ended, did so; empty if nobody knows."""
        async with self._lock:
            try:
                return _exit_text(await self._exit(pid))
            except _LOST:  # it is replaced when the next worker is needed
                return ""

    async def _persistently(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        """Try with the present zygote and, if that is lost, with a fresh one.

        Raises OSError where none can be started: the next attempt tries that again.
        """
        async with self._lock:
            try:
                return await attempt()
            except _LOST as error:
                pid, reason = self.pid, type(error).__name__
            status = self._replace()
            log.warning("zygote-lost", pid=pid, reason=reason, status=status)
            try:
                return await attempt()
            except VersionError as error:
                raise SpawnError(
                    f"{error}: vtpmd has been updated and has to be restarted"
                ) from None
            except _LOST:
                raise SpawnError(
                    "the process that starts workers ends at once: see the log"
                ) from None

    def _replace(self) -> int:
        """Start a fresh zygote; the exit status of the lost one, a signal as a negative number."""
        self._channel.close()
        self._process.kill()
        status = self._process.wait()
        self.start()
        return status

    async def _ready(self) -> ZygoteReady:
        if self._channel.fileno() < 0:  # it was lost, and no other could be started
            raise ChannelClosedError
        if self._models is None:
            # Shielded: a report that nobody waits for would be taken for the next answer.
            with trio.fail_after(WARMING_TIMEOUT, shield=True):
                report, _ = await waiting.receive(self._channel)
            assert isinstance(report, ZygoteReady)  # the table lets nothing else through
            self._models = report
        return self._models

    async def _exit(self, pid: int) -> Exit:
        await self._ready()
        with trio.fail_after(SPAWN_TIMEOUT, shield=True):  # as for `_spawn`
            await waiting.send(self._channel, ReadExit(pid))
            reply, _ = await waiting.receive(self._channel)
        if not isinstance(reply, Exit):
            raise IllegalMessageError("the zygote answered out of turn")
        return reply

    async def _spawn(self, uuid: UUID, name: str, serving_lock: int | None) -> WorkerProcess:
        await self._ready()
        ours, theirs = Channel.pair()
        ours.setblocking(False)
        try:
            fds = [theirs.fileno()] + ([] if serving_lock is None else [serving_lock])
            # Shielded: an answer nobody waits for would be taken for that to the next question.
            with theirs, trio.fail_after(SPAWN_TIMEOUT, shield=True):
                await waiting.send(self._channel, Spawn(uuid, name), fds)
                reply, fds = await waiting.receive(self._channel)
            if isinstance(reply, Spawned):
                return WorkerProcess(Channel(ours, Side.SUPERVISOR, State.NEW), reply.pid, fds[0])
            assert isinstance(reply, SpawnFailed)
            raise SpawnError(reply.reason)
        except BaseException:
            ours.close()
            raise


def _exit_text(end: Exit) -> str:
    match end.how:
        case "exited":
            return f"exit status {end.number}"
        case "killed":
            names = {number.value: number.name for number in signal.Signals}
            return names.get(end.number, f"signal {end.number}")
    return ""
