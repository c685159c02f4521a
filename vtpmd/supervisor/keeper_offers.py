"""Which workers know of the keeper, so that they may sleep and crash, and when one is told."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import trio

from vtpmd.config.schema import Configuration
from vtpmd.ipc.channel import Channel
from vtpmd.ipc.messages import PROGRESS_SIZE, Keep, KeeperUsed, UseKeeper
from vtpmd.linux.memory import memory_file
from vtpmd.linux.scarcity import is_scarcity

from . import serving_lock
from .endpoints import Endpoints
from .errors import KeeperLostError
from .metadata import Metadata
from .refusals import EXPECTED
from .worker import Worker

_SPARED, _SPARED_CONNECTED = 20.0, 2.0
"""Seconds until a keeper is started for a worker that serves, and for one to which QEMU is
connected, unless it may sleep earlier: what is soon stopped again costs no process."""
AGAIN = 20.0
"""Seconds until a worker that has lost the keeper is told of it once more."""


@dataclass(eq=False)
class Offered:
    """A worker that serves. `connected`: QEMU is, to it; `told`: it knows of the keeper."""

    worker: Worker
    metadata: Metadata
    endpoints: Endpoints
    connected: bool = False
    told: bool = False


class Present(Protocol):
    """The keeper, as far as workers are told of it."""

    @property
    def there(self) -> bool: ...
    async def introduce(self, order: Keep, fds: list[int]) -> None: ...


class KeeperOffers:
    """Tells every worker that serves of the keeper, as soon as that is worth a process."""

    def __init__(
        self, configuration: Configuration, nursery: trio.Nursery, present: Present
    ) -> None:
        self._idle = configuration.idle_timeout
        self._sandbox = configuration.sandbox
        self._nursery = nursery
        self._present = present
        self._offered: dict[UUID, Offered] = {}
        self._closed = False

    def offer(self, worker: Worker, metadata: Metadata, endpoints: Endpoints) -> None:
        """Let a worker that serves leave its bequest with the keeper, and give its TPM to it."""
        self._offered[metadata.uuid] = offered = Offered(worker, metadata, endpoints)
        self._offer_soon(offered)

    def heed(self, uuid: UUID, kind: str) -> None:
        """The worker of this instance has reported an event of this kind."""
        if (offered := self._offered.get(uuid)) is None:
            return
        if kind == "client-connected" and not offered.connected:
            offered.connected = True
            if not offered.told:
                self._offer_soon(offered)
        if kind == "keeper-lost" and offered.told:
            offered.told = False
            self._nursery.start_soon(self._offer, offered, AGAIN)

    def all_lost(self) -> None:
        """The keeper has ended: there is to be another one."""
        for offered in self._offered.values():
            offered.told = False
            self._offer_soon(offered)

    def follow(self, idle: float) -> None:
        """Let whoever serves sleep after this time from now on."""
        self._idle = idle
        self.all_lost()

    def withdraw(self, uuid: UUID) -> None:
        """The worker that was offered has ended, or its TPM sleeps."""
        self._offered.pop(uuid, None)

    def close(self) -> None:
        """Offer nothing any more."""
        self._closed = True

    def _offer_soon(self, offered: Offered) -> None:
        """Offer it as soon as that is worth a process, if it will be by itself."""
        if self._present.there:
            self._nursery.start_soon(self._offer, offered, 0.0)
        elif self._idle or offered.connected:
            spared = _SPARED_CONNECTED if offered.connected else _SPARED
            delay = min(self._idle or spared, spared)
            self._nursery.start_soon(self._offer, offered, delay)

    async def _offer(self, offered: Offered, delay: float) -> None:
        metadata = offered.metadata
        await trio.sleep(delay)
        if self._closed or offered.told or self._offered.get(metadata.uuid) is not offered:
            return  # or another one serves by now
        offered.told = True
        try:
            await self._introduce(offered)
        except EXPECTED as error:  # one that has ended needs none
            scarce = isinstance(error, OSError) and is_scarcity(error)
            if scarce or isinstance(error, KeeperLostError):
                offered.told = False
                self._nursery.start_soon(self._offer, offered, AGAIN)

    async def _introduce(self, offered: Offered) -> None:
        """Tell the keeper and the worker of each other. Raises EXPECTED."""
        metadata = offered.metadata
        with (
            _pair() as (ours, theirs),
            memory_file("progress", PROGRESS_SIZE) as progress,
            memory_file("suspended") as memory,
            serving_lock.joined(offered.endpoints.adoption) as lock,
        ):
            order = Keep(metadata.uuid, metadata.name, self._sandbox)
            await self._present.introduce(order, [theirs, lock, progress])
            use = UseKeeper(round(self._idle * 1000))
            await offered.worker.ask(use, KeeperUsed, [ours, memory, progress])


@contextlib.contextmanager
def _pair() -> Iterator[tuple[int, int]]:
    ours, theirs = Channel.pair()
    with ours, theirs:
        yield ours.fileno(), theirs.fileno()
