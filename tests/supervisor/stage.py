"""A fleet in this process, with real workers and key providers that can be made to fail."""

import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import trio

from vtpmd.api.schema import InstanceInfo
from vtpmd.config.schema import Configuration
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.kms.provider import Erased, KeyContext, NotErased
from vtpmd.operations.info import info
from vtpmd.storage.slot import Slot
from vtpmd.supervisor import serving_lock
from vtpmd.supervisor.anchors import Anchors
from vtpmd.supervisor.authority import Authority
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.identities import Identities
from vtpmd.supervisor.keeper import Keeper
from vtpmd.supervisor.keys import Keys
from vtpmd.supervisor.registry import Registry
from vtpmd.supervisor.zygote import Zygote
from vtpmd.telemetry.audit import Audit

DEADLINE = 60.0


class FakeProvider:
    """A key provider that remembers DEKs, and fails the way `fault` says.

    `seen` are the DEKs that it was given or has handed out, where the supervisor has them.
    `version` is that of its KEK, told if it is `versioned`; raising it is a rotation. `created`:
    when its next slots are made.
    While there is a `gate`, whoever needs a key waits until it is set.
    """

    type = "test"

    def __init__(self, name: str = "main") -> None:
        self.name = name
        self.version = 1
        self.versioned = True
        self.created = 1
        self.gate: trio.Event | None = None
        self.fault: Exception | None = None
        self.unwrapped = 0
        self.seen: list[bytes | bytearray] = []
        self.closed = False
        self.destroyed: list[UUID] = []
        self._deks: dict[bytes, bytes] = {}

    async def initialise(self) -> str | None:
        return None

    async def wrap(self, dek: bytes | bytearray, context: KeyContext) -> Slot:
        self.seen.append(dek)
        await self._pass()
        self._deks[context.aad()] = bytes(dek)
        return self._slot()

    async def unwrap(self, slot: Slot, context: KeyContext) -> bytearray:
        self.unwrapped += 1
        await self._pass()
        if context.aad() not in self._deks:
            raise KeyUnavailableError("no such KEK", retry=False)
        dek = bytearray(self._deks[context.aad()])
        self.seen.append(dek)
        return dek

    async def rewrap(self, slot: Slot, context: KeyContext) -> Slot:
        await self._pass()
        if context.aad() not in self._deks:
            raise KeyUnavailableError("no such KEK", retry=False)
        return self._slot()

    def forget(self) -> None:
        """Lose the KEKs that were."""
        self._deks.clear()

    async def destroy(self, slot: Slot, context: KeyContext) -> Erased | NotErased:
        await self.check()
        self.destroyed.append(context.uuid)
        return Erased()

    async def describe(self) -> dict[str, Any]:
        return {}

    async def aclose(self) -> None:
        await self.check()
        self.closed = True

    def _slot(self) -> Slot:
        version = str(self.version) if self.versioned else ""
        return Slot("test", self.name, "k", version, "none", b"wrapped", self.created)

    async def _pass(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        await self.check()

    async def check(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.fault is not None:
            raise self.fault


def keeper_of(configuration: Configuration) -> int | None:
    """The process that keeps what sleeps, None if there is none."""
    try:
        return serving_lock.holder(configuration.keeper_socket)
    except OSError:
        return None


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition that nobody tells of is true."""
    with trio.fail_after(DEADLINE):
        while not condition():
            await _pause()


async def _pause() -> None:
    """Let other tasks run, and other processes: checkpoints alone would take a whole CPU.

    It is no `trio.sleep`, which would wait for a clock that a test moves, or let it jump.
    """
    _leave_cpu()
    await trio.lowlevel.checkpoint()


def _leave_cpu() -> None:
    if not trio.lowlevel.current_statistics().tasks_runnable:
        time.sleep(0.001)


@dataclass
class Stage:
    fleet: Fleet
    provider: FakeProvider
    other: FakeProvider
    host: Host
    directory: Path

    async def until(self, name: str, state: str) -> InstanceInfo:
        with trio.fail_after(DEADLINE):
            while (found := await info(self.fleet, name)).state != state:
                await _pause()
        return found


@asynccontextmanager
async def staged(nursery: trio.Nursery, **settings: object) -> AsyncIterator[Stage]:
    """A host with nothing on it; no process, no file and no DEK is left afterwards.

    Nothing sleeps there unless the `settings` say so.
    """
    with tempfile.TemporaryDirectory(prefix="vtpmd-") as directory:
        configuration = Configuration.model_validate(
            {
                "state_dir": f"{directory}/state",
                "runtime_dir": f"{directory}/run",
                "idle_timeout": 0,
                **settings,
            }
        )
        configuration.workers_dir.mkdir(parents=True)
        registry, zygote = Registry(configuration.state_dir), Zygote()
        provider, other = FakeProvider(), FakeProvider("other")
        audit = Audit(Path(directory, "audit"))
        keys = Keys({"main": provider, "other": other}, "main", None, audit)
        authority = Authority(registry.state_fd, keys, audit)
        identities = Identities(configuration.identity, registry.state_fd, authority, audit)
        anchors = Anchors(configuration, registry)
        keeper = Keeper(configuration, nursery)
        parts = registry, keys, identities, zygote, nursery, anchors, keeper
        host = Host(configuration, *parts, keys.metrics)
        fleet = Fleet(host)
        yield Stage(fleet, provider, other, host, Path(directory))
        provider.fault = other.fault = None
        for instance in fleet:
            await instance.stop(True, "the end of a test", force=True)
        keeper.close()
        await until(lambda: keeper_of(configuration) is None)
        nursery.cancel_scope.cancel()
        zygote.close()
        anchors.close()
        identities.close()
        registry.close()
        assert not any(map(any, (*provider.seen, *other.seen))), "a DEK has not been wiped"
