"""The service in this process, with real workers and a key provider that can be made to fail."""

import os
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from vtpmd.admin import names
from vtpmd.admin.schema import CreateRequest, InstanceInfo
from vtpmd.config.schema import Configuration
from vtpmd.kms.provider import KeyContext, KeyRefused, KeyUnavailable
from vtpmd.storage.slot import Slot
from vtpmd.supervisor import endpoints, instance
from vtpmd.supervisor.errors import OperationRefused
from vtpmd.supervisor.keys import Keys
from vtpmd.supervisor.launch import Host
from vtpmd.supervisor.registry import Registry
from vtpmd.supervisor.service import Service
from vtpmd.supervisor.zygote import Zygote

DEADLINE = 60.0


class Moody:
    """A key provider that remembers DEKs, and fails the way `fault` says."""

    name = "moody"
    type = "test"

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.unwrapped = 0
        self.handed_out = bytearray()
        self._deks: dict[bytes, bytes] = {}

    async def initialise(self) -> str | None:
        return None

    async def wrap(self, dek: bytes | bytearray, context: KeyContext) -> Slot:
        await self.check()
        self._deks[context.aad()] = bytes(dek)
        return Slot("test", "moody", "k", "1", "none", b"wrapped", 1)

    async def unwrap(self, slot: Slot, context: KeyContext) -> bytearray:
        self.unwrapped += 1
        await self.check()
        self.handed_out = bytearray(self._deks[context.aad()])
        return self.handed_out

    async def rewrap(self, slot: Slot, context: KeyContext) -> Slot:
        return slot

    async def describe(self) -> dict[str, Any]:
        return {}

    async def check(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.fault is not None:
            raise self.fault


@dataclass
class Stage:
    service: Service
    provider: Moody
    host: Host
    directory: Path

    async def until(self, name: str, state: str) -> InstanceInfo:
        with trio.fail_after(DEADLINE):
            while (info := await self.service.info(name)).state != state:
                await trio.lowlevel.checkpoint()
        return info


@pytest.fixture
async def stage(nursery: trio.Nursery) -> AsyncIterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="vtpmd-") as directory:
        configuration = Configuration.model_validate(
            {"state_dir": f"{directory}/state", "runtime_dir": f"{directory}/run"}
        )
        (configuration.runtime_dir / endpoints.WORKERS).mkdir(parents=True)
        registry, zygote, provider = Registry(configuration.state_dir), Zygote(), Moody()
        keys = Keys({"moody": provider}, "moody")
        host = Host(configuration, registry, keys, zygote, nursery)
        service = Service(host)
        yield Stage(service, provider, host, Path(directory))
        provider.fault = None
        for info in service.list():
            await service.stop(info.name, remember=True)
        nursery.cancel_scope.cancel()
        zygote.close()
        registry.close()


def there(info: InstanceInfo) -> bool:
    """Whether the instance's control socket exists."""
    return os.path.exists(info.control_socket)


def create(name: str, start: bool = True) -> CreateRequest:
    return CreateRequest(name=name, start=start)


async def test_of_two_creates_at_once_one_succeeds(stage: Stage) -> None:
    outcomes: list[str] = []

    async def attempt() -> None:
        try:
            outcomes.append((await stage.service.create(create("web1", start=False))).state)
        except OperationRefused as refused:
            outcomes.append(refused.problem.code)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(attempt)
    assert sorted(outcomes) == ["exists", "exists", "stopped"]
    assert len(stage.host.registry.load()) == 1


async def test_a_create_without_a_key_leaves_nothing(stage: Stage) -> None:
    stage.provider.fault = KeyUnavailable("the KMS is down", retry=True)
    with pytest.raises(OperationRefused, match="moody: the KMS is down") as refused:
        await stage.service.create(create("web1"))
    assert refused.value.problem is names.KEY_UNAVAILABLE
    stage.provider.fault = None
    assert (await stage.service.create(create("web1"))).state == "running"


async def test_a_create_whose_worker_fails_leaves_nothing(stage: Stage) -> None:
    request = create("web1").model_copy(update={"profile": "no-such-profile"})
    with pytest.raises(OperationRefused):
        await stage.service.create(request)
    assert stage.service.list() == []
    assert list((stage.directory / "state" / "instances").iterdir()) == []
    assert (await stage.service.create(create("web1"))).state == "running"


async def test_the_supervisor_keeps_no_key(stage: Stage) -> None:
    await stage.service.create(create("web1"))
    assert stage.provider.handed_out == bytes(32)


async def test_a_locked_instance_is_unlocked_when_the_key_is_back(stage: Stage) -> None:
    await stage.service.create(create("web1", start=False))
    stage.provider.fault = KeyUnavailable("the KMS is down", retry=True)
    with pytest.raises(OperationRefused) as refused:
        await stage.service.start("web1")
    assert refused.value.problem is names.KEY_UNAVAILABLE
    info = await stage.service.info("web1")
    assert info.state == "locked"
    assert "the KMS is down; next attempt in 1.0 s" in info.reason
    assert there(info)  # a virtual machine may wait there
    stage.provider.fault = None
    await stage.until("web1", "running")  # by itself


async def test_start_tries_a_locked_instance_at_once(stage: Stage) -> None:
    await stage.service.create(create("web1", start=False))
    stage.provider.fault = KeyUnavailable("the KMS is down", retry=True)
    for _ in range(6):  # the next attempt by itself is half a minute away
        with pytest.raises(OperationRefused):
            await stage.service.start("web1")
    stage.provider.fault = None
    with trio.fail_after(10):
        assert (await stage.service.start("web1")).state == "running"


@pytest.mark.parametrize(
    "fault", [KeyUnavailable("no such KEK", retry=False), KeyRefused("it does not open")]
)
async def test_what_no_retry_can_mend_is_not_retried(stage: Stage, fault: Exception) -> None:
    await stage.service.create(create("web1", start=False))
    stage.provider.fault = fault
    with pytest.raises(OperationRefused):
        await stage.service.start("web1")
    info = await stage.service.info("web1")
    assert info.state == "locked"
    assert "next attempt" not in info.reason
    assert not there(info)
    assert stage.provider.unwrapped == 1
    assert (await stage.service.stop("web1", remember=True)).state == "stopped"


async def test_a_locked_instance_can_be_stopped_and_deleted(stage: Stage) -> None:
    await stage.service.create(create("web1", start=False))
    stage.provider.fault = KeyUnavailable("the KMS is down", retry=True)
    for finish in (lambda: stage.service.stop("web1", True), lambda: stage.service.delete("web1")):
        with pytest.raises(OperationRefused):
            await stage.service.start("web1")
        await finish()
    assert stage.service.list() == []
    assert stage.host.registry.load() == []


async def test_a_worker_that_keeps_crashing_is_given_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance, "MAX_CRASHES", 1)
    await stage.service.create(create("web1"))
    await stage.service.create(create("web2"))
    for attempts in (1, 0):
        info = await stage.until("web1", "running")
        assert info.worker is not None
        os.kill(info.worker.pid, signal.SIGKILL)
        info = await stage.until("web1", "failed")
        assert ("next attempt" in info.reason) is bool(attempts)
    assert not there(info)
    assert (await stage.service.info("web2")).state == "running"
    assert (await stage.service.start("web1")).state == "running"  # by hand it may be tried


async def test_starting_and_stopping_twice_changes_nothing(stage: Stage) -> None:
    first = await stage.service.create(create("web1"))
    again = await stage.service.start("web1")
    assert first.worker is not None
    assert again.worker is not None
    assert again.worker.pid == first.worker.pid
    assert (await stage.service.stop("web1", remember=True)).state == "stopped"
    assert (await stage.service.stop("web1", remember=True)).state == "stopped"


async def test_a_worker_the_daemon_lost_sight_of_keeps_its_state_to_itself(stage: Stage) -> None:
    """As after a restart of the daemon when somebody has cleared the runtime directory."""
    info = await stage.service.create(create("web1"))
    for path in (f"{stage.directory}/run/{endpoints.WORKERS}/{info.uuid}", info.control_socket):
        os.unlink(path)
    blind = Service(stage.host)
    await blind.begin(stage.host.registry.load())
    with pytest.raises(OperationRefused, match="another worker still uses"):
        await blind.start("web1")
    with pytest.raises(OperationRefused, match="another worker still uses"):
        await blind.delete("web1")
    assert (await stage.service.info("web1")).worker is not None
