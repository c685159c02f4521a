"""A zygote, asked by a process without trio: one worker after the other."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import Spawn, Spawned, SpawnFailed, ZygoteReady
from vtpmd.ipc.rules import Side, State

TIMEOUT = 30.0  # seconds until the zygote is given up


class SpawnError(Exception):
    """No worker can be had; the text says why."""


class ZygoteLostError(SpawnError):
    """The zygote has ended, or does not answer: nor will it later."""


@dataclass(frozen=True)
class Spawning:
    """A fresh worker: its channel (state NEW), process id and pidfd."""

    channel: Channel
    pid: int
    pidfd: int


class Spawner:
    """Asks the zygote at the other end of `sock`. Waits for it, for TIMEOUT at most."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(TIMEOUT)
        self._channel = Channel(sock, Side.SUPERVISOR, State.WARMING)
        self._ready = False

    def spawn(self, uuid: UUID, name: str, locks: Sequence[int]) -> Spawning:
        """Have a worker forked that takes these locks. Raises SpawnError."""
        ours, theirs = Channel.pair()
        try:
            with theirs:
                answer, fds = self._ask(Spawn(uuid, name), [theirs.fileno(), *locks])
        except (ChannelClosedError, IllegalMessageError, OSError) as error:
            ours.close()
            raise ZygoteLostError(f"no answer ({type(error).__name__})") from None
        if isinstance(answer, Spawned):
            channel = Channel(ours, Side.SUPERVISOR, State.NEW)
            return Spawning(channel, answer.pid, fds[0])
        ours.close()
        raise SpawnError(answer.reason if isinstance(answer, SpawnFailed) else "out of turn")

    def await_zygote(self) -> None:
        """Wait until the zygote is loaded. Raises SpawnError."""
        try:
            self._meet()
        except (ChannelClosedError, IllegalMessageError, OSError) as error:
            raise ZygoteLostError(f"no answer ({type(error).__name__})") from None

    def _meet(self) -> None:
        if not self._ready:
            report, _ = self._channel.receive()
            self._ready = isinstance(report, ZygoteReady)

    def _ask(self, order: Spawn, fds: Sequence[int]) -> tuple[object, list[int]]:
        self._meet()
        self._channel.send(order, fds)
        return self._channel.receive()
