"""A worker whose TPM is still to come: in state blobs, with the key that opens them."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.worker.harness import (
    DEK_ID,
    FAILURE,
    GET_RANDOM_16,
    READ_CLOCK,
    SLOTS,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    Zygote,
    connect,
    control,
    dek,
    get_blob,
    make_key,
    prepare,
    tpm,
)
from tests.worker.test_handover import FAIL, PERMANENT, SAVESTATE, VOLATILE, init, read_state
from tests.worker.test_received import DISABLE_CLEAR
from vtpmd.ipc.identity import Certify, NotCertified
from vtpmd.ipc.messages import (
    ChangeHandOver,
    Failed,
    HandOverChanged,
    NotUnwrapped,
    Rekey,
    RekeyFailed,
    UnwrapKey,
    Unwrapped,
)
from vtpmd.storage.key import Key

INITIALIZE = "80010000000a00000100"
DECRYPT_ERROR = 0x21
STORE_VOLATILE, NOT_RUNNING = 0x0A, bytes.fromhex("0000000a")
RESUME = struct.pack(">I", 0)
PROPERTIES = "8001000000160000017a000000060000020000000001"
"""TPM2_GetCapability(TPM_PT_PERMANENT): disableClear is bit 8 of the value."""
LOCKOUT = "8001000000160000017a000000060000020e00000001"
"""TPM2_GetCapability(TPM_PT_LOCKOUT_COUNTER)."""


def nothing() -> Key:
    """A key that opens nothing, as an order has it where a TPM is still to come."""
    return Key(bytearray(b"\x77" * 32), bytes(16), ())


@dataclass
class Target:
    """A host to which a TPM is to come, and what comes: saved from another host's machine."""

    host: Host
    worker: WorkerProcess
    qemu: Qemu
    blobs: dict[int, bytes]

    def offer(self, kind: int) -> None:
        """SET_STATEBLOB, without its answer."""
        blob = self.blobs[kind]
        self.qemu.control.sendall(struct.pack(">IIII", 0x0D, 2, kind, len(blob)) + blob)

    def result(self) -> int:
        return int.from_bytes(self.qemu.control.recv(4, socket.MSG_WAITALL))

    def bring(self) -> None:
        """All blobs, of which the first has to be opened by the supervisor."""
        assert control(self.qemu.control, 0x0E) == bytes(4)
        self.offer(PERMANENT)
        assert self.worker.receive(UnwrapKey) == UnwrapKey(
            DEK_ID, tuple(slot.encode() for slot in SLOTS)
        )
        self.worker.channel.send(Unwrapped(DEK_ID, dek()))
        assert self.result() == 0
        self.offer(VOLATILE)
        assert self.result() == 0

    def cold(self) -> tuple[WorkerProcess, Qemu]:
        """Another worker, which serves what is stored, and another machine."""
        self.worker.kill()
        self.worker = self.host.serve()
        self.qemu.close()
        self.qemu = Qemu(self.host.control_path)
        return self.worker, self.qemu


@pytest.fixture
def target(host: Host, zygote: Zygote, tmp_path: Path) -> Iterator[Target]:
    source = host.serve()
    with Qemu(host.control_path) as qemu:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        blobs = {kind: get_blob(qemu.control, kind) for kind in (PERMANENT, VOLATILE)}
    source.kill()
    root = tmp_path / "target"
    root.mkdir()
    other = Host(zygote, root, workers=host.workers)
    prepare(other.state)
    worker = other.serve(key=nothing(), incoming=True)
    target = Target(other, worker, Qemu(other.control_path), blobs)
    yield target
    target.qemu.close()


def test_a_tpm_comes_with_its_key_and_is_stored_at_once(target: Target) -> None:
    assert target.host.stored() is None
    target.bring()
    assert target.host.stored() is None
    assert init(target.qemu)
    header = target.host.envelope().header
    assert (header.dek_id, header.epoch, header.handover) == (DEK_ID, 1, "ours")
    assert target.host.envelope().slots == SLOTS
    detail = target.worker.event("migration-in").detail
    assert f"epoch 1, with its key {DEK_ID.hex()}" in detail
    status = target.worker.status()
    assert (status.pending, status.begun) == (False, "it came from another host")
    assert (status.profile, status.pcr_banks) == ("default-v1", ("sha256",))
    assert tpm(target.qemu.data, STARTUP_CLEAR).hex() == INITIALIZE  # it runs on
    assert len(tpm(target.qemu.data, GET_RANDOM_16)) == 28
    assert read_state(target.qemu.control)


def test_nothing_can_be_used_before_it_has_come(target: Target) -> None:
    qemu = target.qemu
    assert target.worker.status().profile == ""
    assert tpm(qemu.data, READ_CLOCK).hex() == FAILURE  # QEMU's probe
    assert not init(qemu)
    assert "still to come" in target.worker.event("state-refused").detail
    for command in (STARTUP_CLEAR, GET_RANDOM_16):
        assert tpm(qemu.data, command).hex() == FAILURE
    assert control(qemu.control, STORE_VOLATILE) == NOT_RUNNING
    qemu.control.sendall(struct.pack(">IIII", 0x0C, 1, PERMANENT, 0))
    assert qemu.control.recv(16)[:4] == NOT_RUNNING
    assert target.host.stored() is None


def test_what_stands_in_for_it_is_never_kept(target: Target) -> None:
    """Orders that the supervisor would not give."""
    worker = target.worker
    assert "still to come" in worker.ask(Rekey(make_key()), RekeyFailed).reason
    given = worker.ask(Certify(bytes(32), {}, ()), NotCertified)
    assert "still to come" in given.reason
    assert worker.ask(ChangeHandOver("take-back"), HandOverChanged).epoch == 0
    worker.stop()
    assert target.host.stored() is None
    answer = target.host.try_to_serve()[1]
    assert isinstance(answer, Failed)
    assert "holds no state" in answer.reason


def test_volatile_state_alone_is_no_tpm(target: Target) -> None:
    target.offer(VOLATILE)
    target.worker.receive(UnwrapKey)
    target.worker.channel.send(Unwrapped(DEK_ID, dek()))
    assert target.result() == 0
    assert not init(target.qemu)
    assert target.host.stored() is None


def test_what_cannot_be_opened_is_refused_before_the_source_ends(target: Target) -> None:
    target.offer(PERMANENT)
    target.worker.receive(UnwrapKey)
    target.worker.channel.send(NotUnwrapped(DEK_ID))
    assert target.result() == DECRYPT_ERROR
    assert DEK_ID.hex() in target.worker.event("state-refused").detail
    assert not init(target.qemu)
    target.bring()
    assert init(target.qemu)


def test_a_target_killed_before_its_first_command_loses_nothing(target: Target) -> None:
    target.bring()
    assert init(target.qemu)
    _, qemu = target.cold()
    qemu.start()
    assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
    assert tpm(qemu.data, LOCKOUT)[-4:] == bytes(4)
    assert target.host.envelope().header.epoch == 1


def test_it_is_stored_as_in_use_before_its_first_command_is_answered(target: Target) -> None:
    target.bring()
    assert init(target.qemu)
    before = target.host.envelope().header
    assert len(tpm(target.qemu.data, GET_RANDOM_16)) == 28
    after = target.host.envelope().header
    assert after.age(before) == "newer"
    assert len(tpm(target.qemu.data, GET_RANDOM_16)) == 28
    assert target.host.envelope().header == after


def test_what_it_stores_from_then_on_is_there_for_the_next_worker(target: Target) -> None:
    target.bring()
    assert init(target.qemu)
    assert tpm(target.qemu.data, DISABLE_CLEAR).hex().startswith("8002")
    _, qemu = target.cold()
    qemu.start()
    assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
    assert tpm(qemu.data, PROPERTIES)[-2] & 1


def test_a_second_machine_finds_the_tpm_that_has_come(target: Target) -> None:
    target.bring()
    assert init(target.qemu)
    target.qemu.close()
    with Qemu(target.host.control_path) as another:
        another.start()
        assert tpm(another.data, STARTUP_CLEAR).hex() == SUCCESS


def test_a_worker_is_not_to_await_what_is_there(host: Host) -> None:
    answer = host.try_to_serve(incoming=True)[1]
    assert isinstance(answer, Failed)
    assert "holds a state already" in answer.reason


def test_tools_wait_for_it_too(target: Target) -> None:
    with connect(target.host.data_path) as data:
        assert tpm(data, STARTUP_CLEAR).hex() == FAILURE
    assert SAVESTATE not in target.blobs
    assert control(target.qemu.control, 0x02, RESUME) == FAIL
