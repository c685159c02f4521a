"""State blobs: out of one worker, into another, sealed all the way."""

import socket
import struct
from pathlib import Path

import pytest

from tests.worker.harness import (
    FAILURE,
    GET_RANDOM_16,
    READ_CLOCK,
    SHUTDOWN_STATE,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    Zygote,
    connect,
    control,
    get_blob,
    prepare,
    tpm,
)
from vtpmd.storage.envelope import parse

PERMANENT, VOLATILE, SAVESTATE = 1, 2, 3
RETRY = bytes.fromhex("00000800") + bytes(12)
INITIALIZE = "80010000000a00000100"
FAIL = bytes.fromhex("00000009")


def set_blob(sock: socket.socket, kind: int, blob: bytes) -> int:
    """As QEMU does: header, then body, then four octets are read."""
    sock.sendall(struct.pack(">IIII", 0x0D, 2, kind, len(blob)))
    sock.sendall(blob)
    return int.from_bytes(sock.recv(4, socket.MSG_WAITALL))


@pytest.fixture
def source(host: Host) -> WorkerProcess:
    return host.serve()


@pytest.fixture
def target(host: Host, zygote: Zygote, tmp_path: Path) -> Host:
    """The same instance on another host: an older copy of its file."""
    root = tmp_path / "target"
    root.mkdir()
    other = Host(zygote, root, workers=host.workers)
    prepare(other.state)
    (other.state / "nvram").write_bytes((host.state / "nvram").read_bytes())
    other.serve()
    return other


def test_a_running_tpm_moves_and_the_source_stays_silent(
    host: Host, source: WorkerProcess, target: Host
) -> None:
    with Qemu(host.control_path) as qemu, Qemu(target.control_path) as there:
        qemu.start()
        tpm(qemu.data, STARTUP_CLEAR)
        permanent = get_blob(qemu.control, PERMANENT)
        volatile = get_blob(qemu.control, VOLATILE)
        assert control(qemu.control, 0x0C, struct.pack(">III", 1, SAVESTATE, 0), 16) == RETRY
        source.event("migration-out")

        assert control(there.control, 0x0E) == bytes(4)
        assert set_blob(there.control, PERMANENT, permanent) == 0
        assert set_blob(there.control, VOLATILE, volatile) == 0
        assert set_blob(there.control, SAVESTATE, b"") == 0
        assert control(there.control, 0x02, struct.pack(">I", 1)) == bytes(4)
        assert len(tpm(there.data, GET_RANDOM_16)) == 28  # running on, without a Startup

        file = (host.state / "nvram").read_bytes()
        assert tpm(qemu.data, GET_RANDOM_16).hex() == FAILURE
        assert control(qemu.control, 0x02, bytes(4)) == FAIL
        assert control(qemu.control, 0x03) == bytes(4)
        assert (host.state / "nvram").read_bytes() == file
        arrived = target.envelope().header.generation
        assert arrived > host.envelope().header.generation


def test_what_the_target_had_stored_before_is_not_gone_on_with(
    host: Host, source: WorkerProcess, target: Host
) -> None:
    with Qemu(host.control_path) as qemu, Qemu(target.control_path) as there:
        there.start()
        tpm(there.data, STARTUP_CLEAR)
        assert control(there.control, 0x0A) == bytes(4)  # STORE_VOLATILE
        assert control(there.control, 0x0E) == bytes(4)
        qemu.start()
        tpm(qemu.data, STARTUP_CLEAR)
        for kind in (PERMANENT, VOLATILE):
            assert set_blob(there.control, kind, get_blob(qemu.control, kind)) == 0
        assert control(there.control, 0x02, bytes(4)) == bytes(4)
        assert len(tpm(there.data, GET_RANDOM_16)) == 28
        assert control(there.control, 0x02, bytes(4)) == bytes(4)  # a reset of the machine
        assert tpm(there.data, GET_RANDOM_16).hex() == INITIALIZE


def test_lock_storage_gives_the_source_back(host: Host, source: WorkerProcess) -> None:
    with Qemu(host.control_path) as qemu:
        qemu.start()
        tpm(qemu.data, STARTUP_CLEAR)
        for _ in range(2):
            get_blob(qemu.control, PERMANENT)
            get_blob(qemu.control, VOLATILE)
            assert control(qemu.control, 0x0C, struct.pack(">III", 1, SAVESTATE, 0), 16) == RETRY
        assert tpm(qemu.data, GET_RANDOM_16).hex() == FAILURE
        assert control(qemu.control, 0x13, struct.pack(">I", 300)) == bytes(4)
        assert len(tpm(qemu.data, GET_RANDOM_16)) == 28


def test_looking_at_single_blobs_hands_nothing_over(host: Host, source: WorkerProcess) -> None:
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        control(sock, 0x02, bytes(4))
        tpm(data, STARTUP_CLEAR)
        for kind in (SAVESTATE, PERMANENT, 7):
            if kind == PERMANENT:
                assert get_blob(sock, kind)
            else:
                assert control(sock, 0x0C, struct.pack(">III", 1, kind, 0), 16) == RETRY
        assert control(sock, 0x0C, struct.pack(">III", 1, SAVESTATE, 0), 16) == RETRY
        assert len(tpm(data, GET_RANDOM_16)) == 28


def test_blobs_exist_before_the_first_command_and_hold_no_plaintext(
    host: Host, source: WorkerProcess
) -> None:
    with connect(host.control_path) as sock:
        control(sock, 0x02, bytes(4))
        for kind in (PERMANENT, VOLATILE):
            blob = get_blob(sock, kind)
            assert b"vtpmd-tpm-state" not in blob
            envelope = parse(blob)
            assert envelope.header.kind == "migration"
            assert envelope.slots[0].wrapped == b"wrapped"
            assert get_blob(sock, kind, 100) + b"" != blob
        blob = get_blob(sock, PERMANENT)
        assert get_blob(sock, PERMANENT, 100) == blob[100:]
        assert get_blob(sock, PERMANENT, len(blob) + 5) == b""


def test_refused_blobs_say_why_and_change_nothing(
    host: Host, source: WorkerProcess, target: Host
) -> None:
    with connect(target.control_path) as sock:
        control(sock, 0x02, bytes(4))
        blob = get_blob(sock, PERMANENT)
        volatile = get_blob(sock, VOLATILE)
    before = host.stored()
    assert before is not None
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        assert set_blob(sock, PERMANENT, volatile) == 0x03  # the other type
        assert set_blob(sock, PERMANENT, blob[:-1]) == 0x03
        assert set_blob(sock, PERMANENT, before) == 0x03  # a stored file is no state blob
        assert set_blob(sock, VOLATILE, b"x" * 100_000) == 0x03
        assert set_blob(sock, SAVESTATE, b"x") == 0x03
        assert set_blob(sock, 7, b"x") == 0x03
        assert control(sock, 0x02, bytes(4)) == bytes(4)
        assert set_blob(sock, PERMANENT, blob) == 0x0A  # not while it runs
        assert tpm(data, STARTUP_CLEAR).hex() == SUCCESS
    source.event("state-refused")


def test_the_blob_of_another_instance_is_refused(
    host: Host, source: WorkerProcess, zygote: Zygote, tmp_path: Path
) -> None:
    root = tmp_path / "other"
    root.mkdir()
    other = Host(zygote, root, type(host.uuid)(int=9), host.workers)
    other.manufacture()
    other.serve()
    with connect(other.control_path) as sock:
        control(sock, 0x02, bytes(4))
        blob = get_blob(sock, PERMANENT)
    with connect(host.control_path) as sock:
        assert set_blob(sock, PERMANENT, blob) == 0x21
    assert "belongs to instance" in source.event("state-refused").detail


def test_an_oversize_blob_is_refused_at_once(host: Host, source: WorkerProcess) -> None:
    with connect(host.control_path) as sock:
        assert control(sock, 0x0D, struct.pack(">III", 2, PERMANENT, 512 * 1024 + 1)).hex() == (
            "00000017"
        )
        assert sock.recv(1) == b""


def test_a_snapshot_on_the_same_host_goes_back_in_time_but_not_in_generation(
    host: Host, source: WorkerProcess
) -> None:
    with Qemu(host.control_path) as qemu:
        qemu.start()
        tpm(qemu.data, STARTUP_CLEAR)
        blobs = {kind: get_blob(qemu.control, kind) for kind in (PERMANENT, VOLATILE)}
        assert tpm(qemu.data, SHUTDOWN_STATE).hex() == SUCCESS
        generation = source.status().generation
        assert control(qemu.control, 0x0E) == bytes(4)
        for kind, blob in blobs.items():
            assert set_blob(qemu.control, kind, blob) == 0
        assert control(qemu.control, 0x02, struct.pack(">I", 1)) == bytes(4)
        assert tpm(qemu.data, READ_CLOCK)[6:10] == bytes(4)
        assert source.status().generation == generation + 1
