"""A guest chooses what QEMU writes to the descriptor it attached: up to 3,968 octets at once.

QEMU reads one answer to each write, by the size field of its header, into a buffer of the size that
was negotiated; until it has one it can't migrate, reset or end.
"""

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.worker.harness import (
    FAILURE,
    GET_RANDOM_16,
    READ_CLOCK,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    connect,
    control,
    tpm,
    wait_for,
)
from vtpmd.ipc.messages import Stop, Stopped

CRB_BUFFER = 3968
COMMAND_SIZE = "80010000000a00000142"
COMMAND_CODE = "80010000000a00000143"
LOCALITY = "80010000000a00000907"
GET_CAPABILITY = struct.pack(">HIIIII", 0x8001, 22, 0x17A, 6, 0x100, 200)
PROMPTLY = 5.0
"""Seconds; half a one is given to octets that were announced."""


@pytest.fixture
def worker(host: Host) -> WorkerProcess:
    return host.serve()


@pytest.fixture
def qemu(host: Host, worker: WorkerProcess) -> Iterator[Qemu]:
    """A machine whose interface is a CRB, started."""
    with Qemu(host.control_path) as qemu:
        qemu.start()
        control(qemu.control, 0x0E)
        assert control(qemu.control, 0x11, struct.pack(">I", CRB_BUFFER), 16)[4:8] == struct.pack(
            ">I", CRB_BUFFER
        )
        control(qemu.control, 0x02, bytes(4))
        control(qemu.control, 0x05, bytes(4))
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        yield qemu


def _submit(qemu: Qemu, octets: bytes) -> str:
    """One write; the one answer, after which nothing more comes and all is in step again."""
    started = time.monotonic()
    qemu.data.sendall(octets)
    answer = qemu.data.recv(65536)
    assert time.monotonic() - started < PROMPTLY
    assert len(answer) == int.from_bytes(answer[2:6]) <= CRB_BUFFER
    assert len(tpm(qemu.data, GET_RANDOM_16)) == 28
    return answer.hex()


def _pcr_reset(index: int) -> str:
    body = struct.pack(">IIIHBH", index, 9, 0x40000009, 0, 0, 0)
    return (struct.pack(">HII", 0x8002, 10 + len(body), 0x13D) + body).hex()


def _tcg(locality: int, command: bytes) -> bytes:
    return struct.pack(">IBI", 8, locality, len(command)) + command


@pytest.mark.parametrize("locality", range(5))
def test_a_tcg_header_gives_no_locality(qemu: Qemu, locality: int) -> None:
    forged = _tcg(locality, bytes.fromhex(GET_RANDOM_16))
    assert _submit(qemu, forged.ljust(CRB_BUFFER, b"\0")) == COMMAND_SIZE
    assert _submit(qemu, forged) == COMMAND_SIZE
    for index in range(17, 23):
        assert tpm(qemu.data, _pcr_reset(index)).hex() == LOCALITY
    assert tpm(qemu.data, _pcr_reset(16)).hex() == "80020000001300000000000000000000010000"
    control(qemu.control, 0x02, bytes(4))
    assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS


@pytest.mark.parametrize("permitted", [False, True])
def test_the_vendor_command_gives_no_locality(host: Host, permitted: bool) -> None:
    host.serve(set_locality=permitted, startup=True)
    with Qemu(host.control_path) as qemu:
        assert tpm(qemu.data, "80010000000b2000100004").hex() == COMMAND_CODE
        assert tpm(qemu.data, _pcr_reset(20)).hex() == LOCALITY


def test_many_commands_in_one_write_draw_one_answer(qemu: Qemu, worker: WorkerProcess) -> None:
    many = GET_CAPABILITY * (CRB_BUFFER // len(GET_CAPABILITY))
    before = worker.status()
    assert _submit(qemu, many)[:4] == "8001"
    after = worker.status()
    assert after.commands - before.commands == 2  # the first of them, and the one of `_submit`
    assert after.dropped_octets - before.dropped_octets == len(many) - len(GET_CAPABILITY)
    assert _submit(qemu, many)[:4] == "8001"
    assert str(len(many) - len(GET_CAPABILITY)) in worker.event("octets-dropped").detail
    worker.status()
    assert "octets-dropped" not in [event.kind for event in worker.events]  # once is enough


def test_many_forged_headers_in_one_write_draw_one_answer(qemu: Qemu) -> None:
    many = _tcg(0, GET_CAPABILITY) + GET_CAPABILITY * 170
    assert _submit(qemu, many.ljust(CRB_BUFFER, b"\0")) == COMMAND_SIZE


@pytest.mark.parametrize("size", [*range(1, 11), 3967, 3968, 3969, 4096, 2**32 - 1])
def test_every_size_field_is_answered_once(qemu: Qemu, size: int) -> None:
    """QEMU writes as many octets as the field says, at most its buffer; none for 0, by itself."""
    header = struct.pack(">HII", 0x8001, size, 0x17B)
    answer = _submit(qemu, header.ljust(CRB_BUFFER, b"\0")[: min(size, CRB_BUFFER)])
    if 10 <= size <= CRB_BUFFER:
        assert answer != COMMAND_SIZE
    else:
        assert answer == COMMAND_SIZE


@pytest.mark.parametrize("came", [10, 1000, 3967])
def test_octets_that_were_announced_and_never_come(qemu: Qemu, came: int) -> None:
    announced = struct.pack(">HII", 0x8001, CRB_BUFFER, 0x17B).ljust(CRB_BUFFER, b"\0")
    assert _submit(qemu, announced[:came]) == COMMAND_SIZE


def test_what_is_sent_while_a_command_runs_is_dropped(qemu: Qemu, worker: WorkerProcess) -> None:
    """A key of 4096 bits takes a while; CANCEL ends it."""
    template = struct.pack(">HHIHHHHIH", 1, 0x0B, 0x00040072, 0, 0x10, 0x10, 4096, 0, 0)
    body = struct.pack(">IIIHBH", 0x40000001, 9, 0x40000009, 0, 0, 0)
    body += struct.pack(">HHHH", 4, 0, 0, len(template)) + template + struct.pack(">HI", 0, 0)
    before = worker.status().commands
    qemu.data.sendall(struct.pack(">HII", 0x8002, 10 + len(body), 0x131) + body)
    wait_for(lambda: worker.status().commands > before)
    for _ in range(50):
        qemu.data.sendall(bytes.fromhex(READ_CLOCK))
    assert control(qemu.control, 0x09) == bytes(4)
    answer = qemu.data.recv(65536)
    assert len(answer) == int.from_bytes(answer[2:6])
    assert len(tpm(qemu.data, GET_RANDOM_16)) == 28
    status = worker.status()
    assert status.commands - before == 2
    assert status.dropped_octets == 50 * 10


def test_the_control_channel_lives_while_octets_are_awaited(qemu: Qemu) -> None:
    """What QEMU needs for `migrate` and to end: answers on the control channel meanwhile."""
    qemu.data.sendall(bytes.fromhex(GET_RANDOM_16)[:11])
    assert control(qemu.control, 0x0E) == bytes(4)
    assert qemu.data.recv(64).hex() == COMMAND_SIZE
    assert tpm(qemu.data, GET_RANDOM_16).hex() == FAILURE  # it was stopped


def test_stop_with_force_frees_a_qemu_that_waits(host: Host, worker: WorkerProcess) -> None:
    """It waits for an answer to nothing; another process holds the worker's end, too."""
    ours, theirs = socket.socketpair()
    with connect(host.control_path) as sock, ours, theirs:
        socket.send_fds(sock, [struct.pack(">I", 0x10)], [theirs.fileno()])
        assert sock.recv(4) == bytes(4)
        worker.ask(Stop("test", force=True), Stopped)
        worker.wait_until_ended()
        ours.settimeout(PROMPTLY)
        assert ours.recv(64) == b""


def test_a_locality_in_a_listeners_tcg_header_holds_for_its_command(
    host: Host, worker: WorkerProcess
) -> None:
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        control(sock, 0x02, bytes(4))
        tpm(data, STARTUP_CLEAR)
        data.sendall(_tcg(2, bytes.fromhex(_pcr_reset(20))))
        assert data.recv(4096)[4:14].hex() == "80020000001300000000"
        assert tpm(data, _pcr_reset(20)).hex() == LOCALITY
        data.sendall(_tcg(4, bytes.fromhex(GET_RANDOM_16)))
        assert len(data.recv(4096)) == 28 + 8
        control(sock, 0x02, bytes(4))
        assert tpm(data, STARTUP_CLEAR).hex() == SUCCESS


def test_listeners_take_one_command_at_a_time_too(host: Host, worker: WorkerProcess) -> None:
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        control(sock, 0x02, bytes(4))
        tpm(data, STARTUP_CLEAR)
        data.sendall(bytes.fromhex(GET_RANDOM_16) * 300)
        assert len(data.recv(65536)) == 28
        data.settimeout(0.1)
        with pytest.raises(TimeoutError):
            data.recv(1)
        data.settimeout(PROMPTLY)
        assert len(tpm(data, GET_RANDOM_16)) == 28


def test_whoever_floods_a_data_channel_keeps_nobody_waiting(
    host: Host, worker: WorkerProcess, qemu: Qemu
) -> None:
    with connect(host.data_path) as flood:
        flood.setblocking(False)
        for _ in range(200):
            for _ in range(4):
                try:
                    flood.send(b"\0" * 65536)
                except BlockingIOError:
                    break
            assert len(tpm(qemu.data, GET_RANDOM_16)) == 28


def test_descriptors_on_a_data_channel_are_never_taken(qemu: Qemu, worker: WorkerProcess) -> None:
    """The end of file shows it: whoever took one would hold the pipe open."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            for _ in range(50):
                socket.send_fds(qemu.data, [bytes.fromhex(GET_RANDOM_16)], [theirs.fileno()] * 100)
                assert len(qemu.data.recv(64)) == 28
        ours.settimeout(PROMPTLY)
        assert ours.recv(1) == b""
