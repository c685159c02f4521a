"""Workers that take all memory they can get: each fails for itself, at once, and nobody else does.

`bombs/` puts a command into the workers that does so, as code of a guest in a worker would.
"""

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.supervisor.harness import GET_RANDOM_8, STARTUP_CLEAR, Daemon, execute, power_on
from tests.worker.harness import DEADLINE, Host, Zygote, connect, control, tpm
from vtpmd.worker.sandbox import MAX_DATA

BOMBS = Path(__file__).parent / "bombs"
WORKERS = 50
FAILED = bytes.fromhex("80010000000a00000101")
STARTUP = STARTUP_CLEAR.hex()
SHARED = 64 << 20
"""What a worker has in use of the libraries' code, at most."""
FIXED = 256 << 20
"""What daemon and zygote may use together, whatever the workers do."""


def bomb(kind: bytes) -> bytes:
    code = 0x20000001 if kind == b"t" else 0x20000000
    return struct.pack(">HII", 0x8001, 11, code) + kind


@pytest.fixture
def bombing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("PYTHONPATH", str(BOMBS), prepend=os.pathsep)
    zygote = Zygote()
    host = Host(zygote, tmp_path)
    try:
        host.manufacture()
        yield host
    finally:
        host.close()
        zygote.close()


@pytest.mark.parametrize("kind", [b"s", b"l", b"t", b"n"])
def test_a_worker_without_memory_fails_at_once(bombing: Host, kind: bytes) -> None:
    """That command fails and the TPM is in failure mode until it is reset; or the worker ends."""
    worker = bombing.serve()
    with connect(bombing.control_path) as sock, connect(bombing.data_path) as data:
        control(sock, 0x02, bytes(4))
        tpm(data, STARTUP)
        data.sendall(bomb(kind))
        try:
            answer = data.recv(4096)
        except ConnectionResetError:
            answer = b""
        if answer:
            assert answer == FAILED
            assert worker.event("defect").detail.startswith("MemoryError at ")
            assert tpm(data, GET_RANDOM_8.hex()) == FAILED
            control(sock, 0x02, bytes(4))
            assert tpm(data, STARTUP)[6:] == bytes(4)
            assert peak(worker.pid) < MAX_DATA + SHARED
        else:
            worker.wait_until_ended()


def peak(pid: int) -> int:
    """The most memory a process ever had in use, in octets, what it shares with others included."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


@pytest.fixture
def root(short_path: Path) -> Path:
    return short_path


@pytest.fixture
def daemon(root: Path) -> Iterator[Daemon]:
    daemon = Daemon(root, "sockets: {data_socket: true}", {"PYTHONPATH": str(BOMBS)})
    try:
        yield daemon
    finally:
        daemon.clean_up()


def memory(pid: int) -> int:
    """What a process and all it has forked have of their own, in octets."""
    total = 0
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in rollup.splitlines():
        if line.startswith("Private_"):
            total += int(line.split()[1]) << 10
    return total + sum(memory(int(child)) for child in children)


class Watch(threading.Thread):
    """Notes the most memory that a daemon and its processes have at one time."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self._pid = pid
        self._ended = threading.Event()
        self.peak = 0

    def run(self) -> None:
        while not self._ended.wait(0.02):
            self.peak = max(self.peak, memory(self._pid))

    def end(self) -> int:
        self._ended.set()
        self.join()
        return self.peak


@pytest.mark.slow
@pytest.mark.served
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the processes")
def test_fifty_bombs_at_once_concern_nobody_else(daemon: Daemon) -> None:
    infos = [daemon.control("create", f"bomber{number}") for number in range(WORKERS)]
    other = daemon.control("create", "other")
    for info in (*infos, other):
        power_on(info)
        assert execute(info, STARTUP_CLEAR)[0] == 0
    watch = Watch(daemon.process())
    watch.start()
    fuses = []
    for info in infos:
        fuse = socket.socket(socket.AF_UNIX)
        fuse.connect(info["data_socket"])
        fuses.append(fuse)
    for number, fuse in enumerate(fuses):
        fuse.sendall(bomb(b"slt"[number % 3 :][:1]))
    burning, slowest, deadline = set(fuses), 0.0, time.monotonic() + DEADLINE
    while burning:
        begun = time.monotonic()
        assert execute(other, GET_RANDOM_8)[0] == 0
        slowest = max(slowest, time.monotonic() - begun)
        assert begun < deadline, f"{len(burning)} workers hang"
        for fuse in select.select(list(burning), [], [], 0)[0]:
            assert fuse.recv(4096) in (FAILED, b"")
            burning.remove(fuse)
    listed = daemon.control("list")["instances"]
    most = watch.end()
    for fuse in fuses:
        fuse.close()
    assert len(listed) == WORKERS + 1
    assert most < WORKERS * MAX_DATA + FIXED
    assert slowest < 5.0
    assert execute(other, GET_RANDOM_8)[0] == 0
    assert daemon.control("info", "other")["worker"]["tpm"] == "on"
    for info in infos[:3]:
        power_on(daemon.control("info", info["name"]))
        assert execute(info, STARTUP_CLEAR)[0] == 0
