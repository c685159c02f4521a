"""Whose the control channel is: who else may send what, and what becomes of a second QEMU."""

import os
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from tests.worker import harness
from tests.worker.harness import (
    GET_RANDOM_16,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    connect,
    control,
    tpm,
)
from tests.worker.test_long_commands import create_primary
from vtpmd.ipc.messages import NO_NUMBER
from vtpmd.swtpm.table import Command

REFUSED = bytes.fromhex("00000009")
ASKING = ("GET_CAPABILITY", "GET_TPMESTABLISHED", "GET_CONFIG", "GET_INFO")
_INFO = struct.pack(">QII", 1, 0, 0)
BODIES = {
    "INIT": bytes(4),
    "SET_LOCALITY": b"\0",
    "HASH_DATA": struct.pack(">I", 1) + b"x",
    "RESET_TPMESTABLISHED": b"\3",
    "GET_STATEBLOB": struct.pack(">III", 1, 1, 0),
    "SET_STATEBLOB": struct.pack(">III", 2, 1, 1) + b"x",
    "SET_BUFFERSIZE": bytes(4),
    "GET_INFO": _INFO,
    "LOCK_STORAGE": bytes(4),
}


@pytest.fixture
def worker(host: Host) -> WorkerProcess:
    return host.serve()


def _send(sock: socket.socket, command: Command) -> bytes:
    """Send a well-formed message; the result at the beginning of its answer."""
    sock.sendall(struct.pack(">I", command) + BODIES.get(command.name, b""))
    return sock.recv(65536)[:4]


@pytest.mark.parametrize("command", list(Command), ids=lambda command: command.name)
def test_others_may_ask_and_nothing_else_while_qemu_has_the_tpm(
    host: Host, worker: WorkerProcess, command: Command
) -> None:
    with connect(host.control_path) as early, Qemu(host.control_path) as qemu:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        with connect(host.control_path) as late:
            for client in (early, late):
                expected = bytes(4) if command.name in ASKING else REFUSED
                assert _send(client, command) == expected
                if expected == REFUSED:
                    detail = worker.event("client-refused").detail
                    process = f"process {os.getpid()} of user {os.geteuid()}"
                    assert detail == f"{command.name} of {process}: {process} has it"
        assert len(tpm(qemu.data, GET_RANDOM_16)) == 28
        assert worker.status().tpm == "on"
        assert control(qemu.control, 0x04, length=8)[:4] == bytes(4)


def test_a_second_qemu_is_refused_at_once_and_the_first_is_not_disturbed(
    host: Host, worker: WorkerProcess
) -> None:
    with Qemu(host.control_path) as first:
        first.start()
        with Qemu(host.control_path) as second:
            assert second.attached == REFUSED
            assert second.data.recv(1) == b""
            assert worker.event("client-refused").detail.startswith("SET_DATAFD of process")
        assert worker.status().refused_descriptors == 1
        assert tpm(first.data, STARTUP_CLEAR).hex() == SUCCESS
    with Qemu(host.control_path) as third:
        third.start()


def test_a_machine_of_another_pid_namespace_is_told_without_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when vtpmd is in a container, and QEMU is not."""
    elsewhere = ["unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*elsewhere, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no PID namespace can be made here")
    monkeypatch.setattr(harness, "ZYGOTE", [*elsewhere, *harness.ZYGOTE])
    zygote = harness.Zygote()
    host = Host(zygote, tmp_path)
    host.manufacture()
    worker = host.serve()
    assert worker.status().machine == 0
    with Qemu(host.control_path):
        assert worker.status().machine == NO_NUMBER
    worker.stop()
    for each in host.workers:
        each.close()
    zygote.close()


def test_a_refused_message_ends_nobodys_command(host: Host, worker: WorkerProcess) -> None:
    with Qemu(host.control_path) as qemu, connect(host.control_path) as other:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        qemu.data.sendall(create_primary(2048, 77))
        for command in (Command.STOP, Command.CANCEL_TPM_CMD, Command.INIT):
            assert _send(other, command) == REFUSED
        assert qemu.data.recv(4096)[6:10] == bytes(4)


@pytest.mark.parametrize("end", ["control", "data", "both"])
def test_whoever_has_hung_up_has_nothing_any_more(
    host: Host, worker: WorkerProcess, end: str
) -> None:
    """Also where the worker meets the successor's message before it has read the end."""
    with connect(host.control_path) as other, Qemu(host.control_path) as qemu:
        qemu.start()
        assert _send(other, Command.STOP) == REFUSED
        os.kill(worker.pid, 19)
        if end != "data":
            qemu.control.close()
        if end != "control":
            qemu.data.close()
        other.sendall(struct.pack(">I", Command.STOP))
        os.kill(worker.pid, 18)
        assert other.recv(4) == bytes(4)
        with Qemu(host.control_path) as successor:
            successor.start()


def test_silent_others_do_not_take_the_owners_place(host: Host, worker: WorkerProcess) -> None:
    with Qemu(host.control_path) as qemu:
        qemu.start()
        others = [connect(host.control_path) for _ in range(40)]
        assert control(others[-1], 0x01, length=8)[:4] == bytes(4)
        qemu.reset()
        for other in others:
            other.close()
