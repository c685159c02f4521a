"""Debian's swtpm_ioctl, a client that we did not write, against a live worker."""

import hashlib
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.worker.harness import (
    FAILURE,
    GET_RANDOM_16,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    WorkerProcess,
    connect,
    control,
    tpm,
)
from vtpmd.ipc.messages import Pcrs, ReadPcrs

pytestmark = pytest.mark.skipif(shutil.which("swtpm_ioctl") is None, reason="no swtpm_ioctl")


@pytest.fixture
def worker(host: Host) -> WorkerProcess:
    return host.serve()


def _ioctl(host: Host, *arguments: str, fails: bool = False) -> str:
    result = subprocess.run(
        ["swtpm_ioctl", "--unix", str(host.control_path), *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (result.returncode != 0) is fails, result.stderr + result.stdout
    return result.stdout + result.stderr


def _command(host: Host, command: str) -> str:
    with connect(host.data_path) as data:
        return tpm(data, command).hex()


def test_capability_configuration_and_buffer_size(host: Host, worker: WorkerProcess) -> None:
    assert "0x1ffff" in _ioctl(host, "-c")
    assert "0x0" in _ioctl(host, "-g")
    assert "4096" in _ioctl(host, "-b", "0")
    assert "TPM buffersize: 2808" in _ioctl(host, "-b", "1")


def test_init_stop_and_shutdown(host: Host, worker: WorkerProcess) -> None:
    assert _command(host, GET_RANDOM_16) == FAILURE
    _ioctl(host, "-i")
    assert _command(host, STARTUP_CLEAR) == SUCCESS
    assert "tpmEstablished is 0" in _ioctl(host, "-e")
    _ioctl(host, "--stop")
    assert _command(host, GET_RANDOM_16) == FAILURE
    assert worker.status().tpm == "off"
    _ioctl(host, "-i")
    _ioctl(host, "-s")
    _ioctl(host, "-i")  # the socket survives a shutdown
    assert _command(host, STARTUP_CLEAR) == SUCCESS


def test_locality_reaches_the_tpm(host: Host, worker: WorkerProcess) -> None:
    _ioctl(host, "-i")
    _command(host, STARTUP_CLEAR)
    reset_pcr_20 = "80020000001b0000013d0000001400000009400000090000000000"
    assert _command(host, reset_pcr_20)[12:] == "00000907"
    _ioctl(host, "-l", "2")
    assert _command(host, reset_pcr_20)[12:20] == "00000000"
    _ioctl(host, "-l", "5", fails=True)
    _ioctl(host, "-C")


def test_hash_extends_pcr_17_and_sets_established(host: Host, worker: WorkerProcess) -> None:
    _ioctl(host, "-i")
    _command(host, STARTUP_CLEAR)
    _ioctl(host, "-h", "1234")
    expected = hashlib.sha256(bytes(32) + hashlib.sha256(b"1234").digest()).digest()
    assert worker.ask(ReadPcrs(), Pcrs).banks["sha256"][17] == expected
    assert "tpmEstablished is 1" in _ioctl(host, "-e")
    _ioctl(host, "-r", "0", fails=True)
    _ioctl(host, "-r", "3")
    assert "tpmEstablished is 0" in _ioctl(host, "-e")


def test_a_large_measurement_from_standard_input(host: Host, worker: WorkerProcess) -> None:
    _ioctl(host, "-i")
    _command(host, STARTUP_CLEAR)
    blob = bytes(range(256)) * 1000
    subprocess.run(
        ["swtpm_ioctl", "--unix", str(host.control_path), "-h", "-"],
        input=blob,
        check=True,
        timeout=20,
    )
    expected = hashlib.sha256(bytes(32) + hashlib.sha256(blob).digest()).digest()
    assert worker.ask(ReadPcrs(), Pcrs).banks["sha256"][17] == expected


def test_stored_volatile_state_resumes(host: Host, worker: WorkerProcess) -> None:
    _ioctl(host, "-i")
    _command(host, STARTUP_CLEAR)
    _ioctl(host, "-h", "1234")
    pcrs = worker.ask(ReadPcrs(), Pcrs)
    _ioctl(host, "-v")
    assert worker.stop()
    successor = host.serve()
    _ioctl(host, "-i")
    assert len(_command(host, GET_RANDOM_16)) == 56
    assert successor.ask(ReadPcrs(), Pcrs) == pcrs


def test_blobs_are_saved_and_loaded(host: Host, worker: WorkerProcess, tmp_path: Path) -> None:
    _ioctl(host, "-i")
    _command(host, STARTUP_CLEAR)
    _ioctl(host, "-h", "1234")
    pcrs = worker.ask(ReadPcrs(), Pcrs)
    files = {kind: tmp_path / kind for kind in ("permanent", "volatile", "savestate")}
    for kind, file in files.items():
        _ioctl(host, "--save", kind, str(file))
    assert files["savestate"].stat().st_size == 0
    assert len(_command(host, GET_RANDOM_16)) == 56  # nothing was handed over
    _ioctl(host, "--load", "permanent", str(files["permanent"]), fails=True)  # it runs
    _ioctl(host, "--stop")
    _ioctl(host, "--load", "permanent", str(files["permanent"]))
    _ioctl(host, "--load", "volatile", str(files["volatile"]))
    _ioctl(host, "-i")
    assert len(_command(host, GET_RANDOM_16)) == 56
    assert worker.ask(ReadPcrs(), Pcrs) == pcrs


def test_a_damaged_blob_is_refused(host: Host, worker: WorkerProcess, tmp_path: Path) -> None:
    _ioctl(host, "-i")
    file = tmp_path / "permanent"
    _ioctl(host, "--save", "permanent", str(file))
    _ioctl(host, "--stop")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    _ioctl(host, "--load", "permanent", str(file), fails=True)
    _ioctl(host, "-i")
    assert _command(host, STARTUP_CLEAR) == SUCCESS


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        ("1", '{"TPMSpecification":{"family":"2.0","level":0,"revision":185}}'),
        (
            "2",
            '{"TPMAttributes":{"manufacturer":"id:5654504D","version":"id:00010000",'
            '"model":"vtpmd"}}',
        ),
        (
            "4",
            '{"TPMFeatures":{"RSAKeySizes":[2048,3072,4096],"CamelliaKeySizes":[128,192,256]}}',
        ),
        ("32", '{"ActiveProfile":{"Name":"default-v1"}}'),
        ("0", "{}"),
        ("0x40000000", "{}"),
    ],
)
def test_info_has_swtpms_form(host: Host, worker: WorkerProcess, mask: str, text: str) -> None:
    assert _ioctl(host, "--info", mask).strip() == text


def test_lock_storage(host: Host, worker: WorkerProcess) -> None:
    with connect(host.control_path) as sock:  # Debian's swtpm_ioctl does not know it yet
        assert control(sock, 0x13, struct.pack(">I", 300)) == bytes(4)
