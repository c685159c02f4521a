"""State blobs from before a rekey open for whoever has the KEK, and only for their instance."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from tests.supervisor.harness import Daemon
from tests.supervisor.stage import FakeProvider, Stage
from tests.worker.harness import (
    GET_RANDOM_16,
    STARTUP_CLEAR,
    SUCCESS,
    Qemu,
    control,
    get_blob,
    tpm,
)
from tests.worker.test_migration import PERMANENT, VOLATILE, set_blob
from vtpmd.api.schema import CreateRequest, RekeyRequest
from vtpmd.ipc.messages import Message, NotUnwrapped, UnwrapKey, Unwrapped
from vtpmd.operations.create import create
from vtpmd.operations.rekey import rekey
from vtpmd.operations.start import start
from vtpmd.operations.stop import STOPPED_BY_ADMINISTRATOR
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor import old_keys
from vtpmd.supervisor.errors import KeyMissingError
from vtpmd.supervisor.old_keys import BURST, OldKeys
from vtpmd.supervisor.worker import Worker

Result = TypeVar("Result")
DECRYPT_ERROR = 0x21


def saved(qemu: Qemu) -> dict[int, bytes]:
    qemu.start()
    assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
    return {kind: get_blob(qemu.control, kind) for kind in (PERMANENT, VOLATILE)}


def offer(qemu: Qemu, blobs: dict[int, bytes]) -> set[int]:
    """What each SET_STATEBLOB is answered with."""
    assert control(qemu.control, 0x0E) == bytes(4)
    return {set_blob(qemu.control, kind, blob) for kind, blob in blobs.items()}


def go_on(qemu: Qemu) -> None:
    assert control(qemu.control, 0x02, struct.pack(">I", 1)) == bytes(4)
    assert len(tpm(qemu.data, GET_RANDOM_16)) == 28


async def aside(act: Callable[..., Result], *arguments: object) -> Result:
    """What blocks, beside the supervisor."""
    return await trio.to_thread.run_sync(act, *arguments)


async def test_a_rekey_leaves_saved_machines_usable_and_is_not_undone_by_them(
    stage: Stage,
) -> None:
    made = await create(stage.fleet, CreateRequest(name="web1"))
    with await aside(Qemu, Path(made.control_socket)) as qemu:
        blobs = await aside(saved, qemu)
        await rekey(stage.fleet, "web1", RekeyRequest(deep=True, provider="other"))
        assert await aside(offer, qemu, blobs) == {0}
        await aside(go_on, qemu)
    stage.provider.forget()
    instance = stage.fleet.find("web1")
    await instance.stop(True, STOPPED_BY_ADMINISTRATOR)
    assert (await start(stage.fleet, "web1")).state == "running"
    with await aside(Qemu, Path(made.control_socket)) as qemu, capture_logs() as logs:
        await aside(qemu.start)
        assert await aside(offer, qemu, blobs) == {DECRYPT_ERROR}
    (refused, *_) = [line for line in logs if line["event"] == "blob-key-refused"]
    assert refused["reason"].startswith("KEK k 1: key provider main: no such KEK")
    lines = (stage.directory / "audit").read_text()
    assert '"operation": "unwrap-blob"' in lines


def test_a_daemon_that_adopts_a_worker_answers_it(daemon: Daemon) -> None:
    info = daemon.control("create", "web1")
    with Qemu(Path(info["control_socket"])) as qemu:
        blobs = saved(qemu)
        daemon.control("rekey", "web1", "--deep")
        daemon.restart()
        assert offer(qemu, blobs) == {0}
        go_on(qemu)


async def test_slots_of_another_instance_open_nothing(stage: Stage) -> None:
    one, other = [
        await create(stage.fleet, CreateRequest(name=name, start=False)) for name in ("a", "b")
    ]
    theirs = stage.host.registry.envelope(other.uuid)
    dek_id, keys = theirs.header.dek_id, stage.host.keys
    dek = await keys.unwrap(other.uuid, dek_id, theirs.slots)
    assert any(dek)
    wipe(dek)
    with pytest.raises(KeyMissingError, match="KEK k 1"):
        await keys.unwrap(one.uuid, dek_id, theirs.slots)
    with pytest.raises(KeyMissingError, match="no slot"):
        await keys.unwrap(one.uuid, dek_id, ())


class Asking:
    """A worker that hears its answers."""

    def __init__(self) -> None:
        self.heard: list[Message] = []

    async def tell(self, answer: Message) -> None:
        deks = [answer.dek] if isinstance(answer, Unwrapped) else []
        self.heard.append(answer)
        for dek in deks:
            assert any(dek)


@pytest.fixture
async def asked(stage: Stage) -> tuple[OldKeys, Asking, UnwrapKey]:
    made = await create(stage.fleet, CreateRequest(name="web1", start=False))
    envelope = stage.host.registry.envelope(made.uuid)
    slots = (b"\xa1\x01\x02", *(slot.encode() for slot in envelope.slots))  # one of a later form
    request = UnwrapKey(envelope.header.dek_id, slots)
    return OldKeys(stage.host, stage.fleet.find("web1").metadata), Asking(), request


async def answered(keys: OldKeys, worker: Asking, request: UnwrapKey, count: int = 1) -> Any:
    for _ in range(count):
        keys.answer(cast("Worker", worker), request)
    expected = len(worker.heard) + count
    while len(worker.heard) < expected:
        await trio.lowlevel.checkpoint()
    return worker.heard[-1]


async def test_a_key_is_wiped_once_it_is_told(
    stage: Stage, asked: tuple[OldKeys, Asking, UnwrapKey]
) -> None:
    answer = await answered(*asked)
    assert isinstance(answer, Unwrapped)
    await trio.testing.wait_all_tasks_blocked()
    assert answer.dek is stage.provider.seen[-1]
    assert answer.dek == bytearray(32)


async def test_a_worker_asks_one_at_a_time_and_not_for_ever(
    stage: Stage, asked: tuple[OldKeys, Asking, UnwrapKey]
) -> None:
    keys, worker, request = asked
    await answered(keys, worker, request, count=20)
    assert sum(isinstance(each, Unwrapped) for each in worker.heard) == 1
    for _ in range(20):
        await answered(keys, worker, request)
    assert stage.provider.unwrapped <= BURST + 2
    assert isinstance(worker.heard[-1], NotUnwrapped)


async def test_a_provider_that_does_not_answer_is_given_up(
    stage: Stage, asked: tuple[OldKeys, Asking, UnwrapKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old_keys, "DEADLINE", 0.01)
    provider: FakeProvider = stage.provider
    provider.gate = trio.Event()
    with capture_logs() as logs:
        assert isinstance(await answered(*asked), NotUnwrapped)
    assert "took longer" in [line["reason"] for line in logs if "reason" in line][-1]
    provider.gate.set()
