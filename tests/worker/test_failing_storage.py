"""A save that fails: withheld, tried again, refused; nothing that was said is forgotten."""

import resource
import select
import struct
import time
from collections.abc import Callable

import pytest

from tests.worker.harness import (
    FAILURE,
    GET_RANDOM_16,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    connect,
    control,
    get_blob,
    make_key,
    tpm,
)
from vtpmd.ipc.messages import Rekey, RekeyFailed, Stop, Stopped
from vtpmd.storage.state_file import FILE_SIZE
from vtpmd.worker.patience import LONGEST, SHORT, patience

NV_UNAVAILABLE = "80010000000a00000923"
PROMPTLY = LONGEST / 2
DISABLE_CLEAR = "80020000001c000001274000000c" + "00000009" + "40000009" + "0000000000" + "01"
PERMANENT = "8001000000160000017a00000006" + "00000200" + "00000001"
IS_DISABLED = 1 << 8

Limit = Callable[[int], object]


@pytest.fixture
def worker(host: Host) -> WorkerProcess:
    return host.serve(startup=True)


@pytest.fixture
def fail(worker: WorkerProcess) -> Limit:
    """Let no file grow beyond so many octets: with none, every write fails as on a full disk."""
    return lambda size: resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (size, FILE_SIZE))


def _disabled(qemu: Qemu) -> bool:
    return bool(int.from_bytes(tpm(qemu.data, PERMANENT)[-4:]) & IS_DISABLED)


def _withheld(qemu: Qemu, worker: WorkerProcess) -> None:
    """Send a command whose change can't be stored."""
    qemu.data.sendall(bytes.fromhex(DISABLE_CLEAR))
    worker.event("storage-failing")
    assert not select.select([qemu.data], [], [], 0)[0]


def _refused(qemu: Qemu, worker: WorkerProcess) -> None:
    """The same, in vain."""
    _withheld(qemu, worker)
    assert control(qemu.control, 0x09) == bytes(4)
    assert qemu.data.recv(4096).hex() == FAILURE


def test_what_fails_for_a_moment_is_answered_late(
    host: Host, worker: WorkerProcess, fail: Limit
) -> None:
    """Meanwhile others are served, and whoever asks is told what is waited for."""
    with Qemu(host.control_path) as qemu, connect(host.data_path) as tool:
        generation = worker.status().generation
        fail(0)
        _withheld(qemu, worker)
        assert "File too large" in worker.status().storage
        assert control(qemu.control, 0x01, length=8)[:4] == bytes(4)
        tool.sendall(bytes.fromhex(GET_RANDOM_16))  # waits its turn
        fail(FILE_SIZE)
        assert qemu.data.recv(4096).hex().startswith("8002")
        assert len(tool.recv(4096)) == 28
        worker.event("storage-recovered")
        assert worker.status().storage == "available"
        assert host.envelope().header.generation == generation + 1


def test_what_lasts_is_answered_in_time_and_stays_in_memory(
    host: Host, worker: WorkerProcess, fail: Limit
) -> None:
    with Qemu(host.control_path) as qemu:
        before = host.envelope().header.generation
        fail(0)
        started = time.monotonic()
        assert tpm(qemu.data, DISABLE_CLEAR).hex() == FAILURE
        assert time.monotonic() - started >= LONGEST
        assert _disabled(qemu)
        assert tpm(qemu.data, DISABLE_CLEAR).hex() == NV_UNAVAILABLE
        assert len(tpm(qemu.data, GET_RANDOM_16)) == 28
        assert worker.status().tpm == "on"
        assert host.envelope().header.generation == before
        # A reset forgets nothing.
        assert control(qemu.control, 0x02, bytes(4)) == bytes(4)
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == NV_UNAVAILABLE
        assert "File too large" in worker.status().storage
        fail(FILE_SIZE)
        worker.event("storage-recovered")
        assert host.envelope().header.generation == before + 1
        worker.kill()
    host.serve(startup=True)
    with Qemu(host.control_path) as qemu:
        assert _disabled(qemu)


def test_no_driver_has_to_wait_longer_than_it_does() -> None:
    """Durations of Linux' driver in seconds, minus what QEMU and a busy guest need."""
    medium = (0x144, 0x15C, 0x13E, 0x185, 0x186, 0x182, 0x17A)
    for code in range(0x11F, 0x1A0):
        allowed = 0.75 if code in medium else 2.0
        asked = patience(bytes.fromhex("80010000000a") + code.to_bytes(4))
        assert asked == (SHORT if code in medium else LONGEST) <= 0.9 * allowed


@pytest.mark.parametrize(
    "code", [0x09, 0x0E, 0x02, 0x03], ids=["cancel", "stop", "init", "shutdown"]
)
def test_whoever_has_no_time_is_answered_at_once(
    host: Host, worker: WorkerProcess, fail: Limit, code: int
) -> None:
    with Qemu(host.control_path) as qemu:
        fail(0)
        _withheld(qemu, worker)
        started = time.monotonic()
        assert control(qemu.control, code, bytes(4) if code == 0x02 else b"") == bytes(4)
        if code != 0x03:
            assert qemu.data.recv(4096).hex() == FAILURE
        assert time.monotonic() - started < PROMPTLY
        fail(FILE_SIZE)
        worker.event("storage-recovered")


def test_a_stop_gives_it_a_last_chance_and_says_what_is_lost(
    host: Host, worker: WorkerProcess, fail: Limit
) -> None:
    with Qemu(host.control_path) as qemu:
        fail(0)
        _withheld(qemu, worker)
        started = time.monotonic()
        worker.ask(Stop("test"), Stopped)
        assert time.monotonic() - started < PROMPTLY
        worker.wait_until_ended()
        assert "last change is lost" in [e.detail for e in worker.events][-1]


def test_a_stop_stores_what_can_be_stored_again(
    host: Host, worker: WorkerProcess, fail: Limit
) -> None:
    with Qemu(host.control_path) as qemu:
        fail(0)
        _refused(qemu, worker)
        fail(FILE_SIZE)
        worker.stop()
    host.serve(startup=True)
    with Qemu(host.control_path) as qemu:
        assert _disabled(qemu)


def test_nothing_takes_the_place_of_what_is_not_stored(
    host: Host, worker: WorkerProcess, fail: Limit
) -> None:
    """Neither state that is received, nor that under another key, nor that of a hand-over."""
    with Qemu(host.control_path) as qemu:
        blob = get_blob(qemu.control, 1)
        fail(0)
        _refused(qemu, worker)
        assert isinstance(worker.ask(Rekey(make_key()), RekeyFailed), RekeyFailed)
        assert control(qemu.control, 0x0E) == bytes(4)
        body = struct.pack(">III", 2, 1, len(blob)) + blob
        assert control(qemu.control, 0x0D, body) == bytes(4)
        assert control(qemu.control, 0x02, bytes(4)) == bytes.fromhex("00000009")
        fail(FILE_SIZE)
        worker.event("storage-recovered")
        assert control(qemu.control, 0x02, bytes(4)) == bytes(4)
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        assert _disabled(qemu)
