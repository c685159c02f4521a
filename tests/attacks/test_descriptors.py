"""Descriptors sent to a worker with control messages, to use up its own."""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.harness import (
    GET_RANDOM_16,
    Host,
    WorkerProcess,
    connect,
    control,
    tpm,
    wait_for,
)

BLOB = 100_000


@pytest.fixture
def worker(host: Host) -> WorkerProcess:
    worker = host.serve(startup=True)
    with connect(host.data_path) as data:
        tpm(data, GET_RANDOM_16)
    worker.status()  # its loop has begun: nothing more is opened for itself
    return worker


@pytest.fixture
def many() -> Iterator[list[int]]:
    null = os.open("/dev/null", os.O_RDONLY)
    yield [null] * 4
    os.close(null)


def _count(worker: WorkerProcess) -> int:
    return len(os.listdir(f"/proc/{worker.pid}/fd"))


def _cpu_seconds(worker: WorkerProcess) -> float:
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_descriptors_with_each_octet_of_a_blob(
    host: Host, worker: WorkerProcess, many: list[int]
) -> None:
    before = _count(worker)
    with connect(host.control_path) as slow:
        slow.sendall(struct.pack(">IIII", 0x0D, 2, 1, BLOB))
        for _ in range(200):
            socket.send_fds(slow, [b"x"], many)
        wait_for(lambda: worker.status().refused_descriptors >= 200)
        # Its connection, one descriptor, and one that has just come and is about to be closed.
        assert _count(worker) <= before + 3
        with connect(host.control_path) as other, connect(host.data_path) as data:
            assert control(other, 0x01, length=8)[:4] == bytes(4)
            assert len(tpm(data, GET_RANDOM_16)) == 28
            busy = _cpu_seconds(worker)
            worker.status()
            assert _cpu_seconds(worker) - busy < 1
        assert worker.event("descriptors-refused").detail
        worker.status()
        assert "descriptors-refused" not in [event.kind for event in worker.events]
    wait_for(lambda: _count(worker) <= before)


def test_sixteen_clients_keep_one_each_at_most(
    host: Host, worker: WorkerProcess, many: list[int]
) -> None:
    before = _count(worker)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(host.control_path)) for _ in range(16)]
        for client in clients:
            client.sendall(struct.pack(">IIII", 0x0D, 2, 1, BLOB))
        for _ in range(8):
            for client in clients:
                socket.send_fds(client, [b"x"], many)
        wait_for(lambda: worker.status().refused_descriptors >= 16 * 7)
        assert _count(worker) <= before + 2 * 16 + 1
        with connect(host.data_path) as data:
            assert len(tpm(data, GET_RANDOM_16)) == 28
    wait_for(lambda: _count(worker) <= before)


def test_a_descriptor_that_no_command_wants_goes_with_its_answer(
    host: Host, worker: WorkerProcess, many: list[int]
) -> None:
    with connect(host.control_path) as sock:
        control(sock, 0x01, length=8)
        before = _count(worker)
        socket.send_fds(sock, [struct.pack(">I", 1)], many)
        assert len(sock.recv(8)) == 8
        assert _count(worker) == before
        assert worker.status().refused_descriptors >= 2
        assert control(sock, 0x10) == bytes.fromhex("0000001f")  # none is left for SET_DATAFD
