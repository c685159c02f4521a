"""Commands on the side thread: everything else goes on, and those that must can end them."""

import struct
import time

import pytest

from tests.worker.harness import (
    GET_RANDOM_16,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    connect,
    control,
    get_blob,
    tpm,
    wait_for,
)
from vtpmd.ipc.messages import Stop, Stopped

CANCELED = "80010000000a00000909"
PROMPTLY = 0.1


def create_primary(bits: int, unique: int) -> bytes:
    """TPM2_CreatePrimary(owner) of an RSA signing key; another `unique`, another key."""
    template = struct.pack(
        ">HHIHHHHIH", 1, 0x000B, 0x00040072, 0, 0x10, 0x10, bits, 0, 4
    ) + struct.pack(">I", unique)
    body = struct.pack(">IIIHBH", 0x40000001, 9, 0x40000009, 0, 0, 0)
    body += struct.pack(">HHH", 4, 0, 0) + struct.pack(">H", len(template)) + template
    body += struct.pack(">HI", 0, 0)
    return struct.pack(">HII", 0x8002, 10 + len(body), 0x131) + body


@pytest.fixture
def worker(host: Host) -> WorkerProcess:
    return host.serve(startup=True)


def _response(qemu: Qemu) -> bytes:
    header = qemu.data.recv(10)
    return header + qemu.data.recv(int.from_bytes(header[2:6]) - len(header))


def test_a_long_command_answers_in_the_end(host: Host, worker: WorkerProcess) -> None:
    with Qemu(host.control_path) as qemu:
        qemu.data.sendall(create_primary(2048, 1))
        response = _response(qemu)
        assert response[:2] == b"\x80\x02"
        assert response[6:10] == bytes(4), response[:10].hex()


def test_control_commands_are_answered_meanwhile(host: Host, worker: WorkerProcess) -> None:
    fastest = float("inf")
    answered = 0
    with Qemu(host.control_path) as qemu, connect(host.data_path) as tool:
        qemu.data.sendall(create_primary(4096, 2))
        tool.sendall(bytes.fromhex(GET_RANDOM_16))  # waits its turn
        wait_for(lambda: worker.status().commands == 1)
        for _ in range(20):
            started = time.monotonic()
            assert control(qemu.control, 0x04, length=8) == bytes(8)
            assert control(qemu.control, 0x01, length=8)[:4] == bytes(4)
            assert control(qemu.control, 0x11, bytes(4), 16)[:4] == bytes(4)
            fastest = min(fastest, time.monotonic() - started)
            answered += 1
        assert control(qemu.control, 0x09) == bytes(4)
        assert _response(qemu).hex() == CANCELED
        assert len(tool.recv(4096)) == 28
    assert answered == 20
    # The slowest of the answers says as much of the machine's load as of us.
    assert fastest < PROMPTLY


@pytest.mark.parametrize("command", [0x0E, 0x02, 0x03], ids=["stop", "init", "shutdown"])
def test_power_commands_end_it_first(host: Host, worker: WorkerProcess, command: int) -> None:
    with Qemu(host.control_path) as qemu:
        qemu.data.sendall(create_primary(4096, 3))
        wait_for(lambda: worker.status().commands == 1)
        body = bytes(4) if command == 0x02 else b""
        assert control(qemu.control, command, body) == bytes(4)
        if command != 0x03:
            assert _response(qemu).hex() == CANCELED
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        assert control(sock, 0x02, bytes(4)) == bytes(4)
        assert tpm(data, STARTUP_CLEAR).hex() == SUCCESS


def test_state_blobs_wait_for_it(host: Host, worker: WorkerProcess) -> None:
    with Qemu(host.control_path) as qemu:
        qemu.data.sendall(create_primary(2048, 4))
        wait_for(lambda: worker.status().commands == 1)
        assert get_blob(qemu.control, 2)
        assert _response(qemu)[6:10] == bytes(4)


def test_stop_of_the_supervisor_ends_it_first(host: Host, worker: WorkerProcess) -> None:
    with Qemu(host.control_path) as qemu:
        qemu.data.sendall(create_primary(4096, 5))
        wait_for(lambda: worker.status().commands == 1)
        worker.ask(Stop("test"), Stopped)
        worker.wait_until_ended()


def test_a_client_that_leaves_meanwhile_is_no_trouble(host: Host, worker: WorkerProcess) -> None:
    with connect(host.data_path) as data:
        data.sendall(create_primary(4096, 6))
        wait_for(lambda: worker.status().commands == 1)
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        assert control(sock, 0x09) == bytes(4)
        assert len(tpm(data, GET_RANDOM_16)) == 28
