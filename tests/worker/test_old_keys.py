"""State blobs from before a rekey: the worker has to ask for their key, and goes on meanwhile."""

import os
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.worker.harness import (
    DEK_ID,
    GET_RANDOM_16,
    INSTANCE,
    SLOTS,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    connect,
    control,
    dek,
    get_blob,
    make_key,
    tpm,
)
from tests.worker.test_handover import PERMANENT, VOLATILE
from vtpmd.ipc.messages import NotUnwrapped, Rekey, Rekeyed, UnwrapKey, Unwrapped
from vtpmd.storage.envelope import parse
from vtpmd.storage.errors import EnvelopeError
from vtpmd.storage.header import Header
from vtpmd.storage.key import Key
from vtpmd.storage.slot import Slot
from vtpmd.swtpm.table import BlobType
from vtpmd.worker.blobs import seal_blob
from vtpmd.worker.old_keys import DEADLINE, KeyAwaitedError, OldKeys

DECRYPT_ERROR = 0x21
OLD = UnwrapKey(DEK_ID, tuple(slot.encode() for slot in SLOTS))


@dataclass
class Moved:
    """An instance under a new key, with state blobs under the old one."""

    host: Host
    worker: WorkerProcess
    qemu: Qemu
    blobs: dict[int, bytes]
    key: Key

    def offer(self, kind: int) -> None:
        """SET_STATEBLOB, without its answer."""
        blob = self.blobs[kind]
        self.qemu.control.sendall(struct.pack(">IIII", 0x0D, 2, kind, len(blob)) + blob)

    def result(self) -> int:
        return int.from_bytes(self.qemu.control.recv(4, socket.MSG_WAITALL))

    def answer(self, answer: Unwrapped | NotUnwrapped) -> None:
        assert self.worker.receive(UnwrapKey) == OLD
        self.worker.channel.send(answer)


@pytest.fixture
def rekeyed(host: Host) -> Iterator[Moved]:
    worker = host.serve()
    with Qemu(host.control_path) as qemu:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        blobs = {kind: get_blob(qemu.control, kind) for kind in (PERMANENT, VOLATILE)}
        key = Key(bytearray(b"\x21" * 32), os.urandom(16), SLOTS)
        worker.ask(Rekey(key), Rekeyed)
        assert control(qemu.control, 0x0E) == bytes(4)
        yield Moved(host, worker, qemu, blobs, key)


def test_an_old_blob_opens_and_what_it_holds_is_sealed_under_the_new_key(
    rekeyed: Moved,
) -> None:
    rekeyed.offer(PERMANENT)
    rekeyed.answer(Unwrapped(DEK_ID, dek()))
    assert rekeyed.result() == 0
    rekeyed.offer(VOLATILE)  # the same key
    assert rekeyed.result() == 0
    assert control(rekeyed.qemu.control, 0x02, struct.pack(">I", 1)) == bytes(4)
    assert len(tpm(rekeyed.qemu.data, GET_RANDOM_16)) == 28
    for role in ("nvram", "incoming"):
        if rekeyed.host.stored(role) is not None:
            assert rekeyed.host.envelope(role).header.dek_id == rekeyed.key.dek_id
    assert control(rekeyed.qemu.control, 0x0E) == bytes(4)
    rekeyed.offer(PERMANENT)  # forgotten since INIT
    rekeyed.answer(NotUnwrapped(DEK_ID))
    assert rekeyed.result() == DECRYPT_ERROR


def test_everybody_else_is_served_meanwhile(rekeyed: Moved) -> None:
    rekeyed.offer(PERMANENT)
    assert rekeyed.worker.receive(UnwrapKey) == OLD
    rekeyed.qemu.control.sendall(struct.pack(">I", 1))  # behind it
    assert rekeyed.worker.status().tpm == "off"
    with connect(rekeyed.host.data_path) as data:
        assert len(tpm(data, GET_RANDOM_16)) == 10
    assert not select.select([rekeyed.qemu.control], [], [], 0)[0]
    rekeyed.worker.channel.send(Unwrapped(DEK_ID, dek()))
    assert rekeyed.result() == 0
    assert rekeyed.qemu.control.recv(8, socket.MSG_WAITALL).hex() == "000000000001ffff"


@pytest.mark.parametrize(
    "answer",
    [
        NotUnwrapped(DEK_ID),
        Unwrapped(DEK_ID, bytearray(32)),
        Unwrapped(DEK_ID, bytearray(5)),
    ],
    ids=["none", "wrong", "short"],
)
def test_without_the_key_a_blob_is_refused(
    rekeyed: Moved, answer: Unwrapped | NotUnwrapped
) -> None:
    rekeyed.offer(PERMANENT)
    rekeyed.answer(answer)
    if isinstance(answer, Unwrapped) and len(answer.dek) < 32:  # no answer at all
        rekeyed.worker.channel.send(NotUnwrapped(DEK_ID))
    assert rekeyed.result() == DECRYPT_ERROR
    assert rekeyed.worker.event("state-refused")
    assert control(rekeyed.qemu.control, 0x02, bytes(4)) == bytes(4)
    assert tpm(rekeyed.qemu.data, STARTUP_CLEAR).hex() == SUCCESS


def test_an_answer_that_nobody_asked_for_changes_nothing(rekeyed: Moved) -> None:
    rekeyed.worker.channel.send(Unwrapped(DEK_ID, bytearray(32)))
    rekeyed.worker.status()  # it is read before there is a question
    rekeyed.offer(PERMANENT)
    rekeyed.answer(Unwrapped(DEK_ID, dek()))
    assert rekeyed.result() == 0


def test_without_a_supervisor_a_blob_is_refused_at_once(rekeyed: Moved) -> None:
    rekeyed.worker.channel.close()
    rekeyed.offer(PERMANENT)
    assert rekeyed.result() == DECRYPT_ERROR


def test_a_blob_of_another_instance_asks_for_nothing(rekeyed: Moved) -> None:
    blob = bytearray(rekeyed.blobs[PERMANENT])
    at = blob.index(INSTANCE.bytes)
    blob[at] ^= 1
    rekeyed.blobs[PERMANENT] = bytes(blob)
    rekeyed.offer(PERMANENT)
    assert rekeyed.result() != 0
    assert rekeyed.worker.status().tpm == "off"  # the next message is no question


def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_the_deadline() -> None:
    keys = OldKeys()
    asked: list[UnwrapKey] = []

    def ask(request: UnwrapKey) -> bool:
        asked.append(request)
        return True

    keys.ask = ask
    envelope = parse(seal_blob(make_key(), Header(INSTANCE, 1, "permanent", DEK_ID),
                               BlobType.PERMANENT, b""))  # fmt: skip
    with pytest.raises(KeyAwaitedError) as awaited:
        keys.of("a", envelope)
    assert asked == [OLD]
    assert keys.deadline is not None
    assert not keys.expire(keys.deadline - DEADLINE / 2)
    assert not awaited.value.settled()
    assert keys.expire(keys.deadline)
    assert awaited.value.settled()
    with pytest.raises(EnvelopeError, match="can't be had"):
        keys.of("a", envelope)
    late = dek()
    keys.answer(Unwrapped(DEK_ID, late))
    assert late == bytearray(32)


def test_who_ends_takes_no_others_question_or_key_along() -> None:
    keys = OldKeys()
    asked: list[UnwrapKey] = []

    def ask(request: UnwrapKey) -> bool:
        asked.append(request)
        return True

    keys.ask = ask
    envelope = parse(seal_blob(make_key(), Header(INSTANCE, 1, "permanent", DEK_ID),
                               BlobType.PERMANENT, b""))  # fmt: skip
    with pytest.raises(KeyAwaitedError) as awaited:
        keys.of("a", envelope)
    keys.forget("b")
    assert not awaited.value.settled()
    keys.answer(Unwrapped(DEK_ID, dek()))
    keys.forget("b")
    assert keys.of("a", envelope) == dek()
    held = keys.of("a", envelope)
    with pytest.raises(KeyAwaitedError):
        keys.of("b", envelope)
    keys.forget("a")
    assert held == bytearray(32)
    assert asked == [OLD, OLD]


def test_slots_that_fit_into_no_message_are_not_asked_about() -> None:
    keys = OldKeys()
    keys.ask = lambda request: pytest.fail("asked")
    big = Slot("local", "l" * 2000, "k" * 2000, "1", "a" * 2000, b"w" * 4000, 1)
    key = Key(dek(), DEK_ID, (big,) * 16)
    header = Header(INSTANCE, 1, "permanent", DEK_ID)
    with pytest.raises(EnvelopeError):
        keys.of("a", parse(seal_blob(key, header, BlobType.PERMANENT, b"")))
