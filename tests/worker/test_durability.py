"""What is answered is on disk; what is on disk is what the next worker starts from."""

import os
import resource
import struct
from dataclasses import replace

import pytest

from tests.state_files import older_place, overwrite
from tests.worker.harness import (
    GET_RANDOM_16,
    READ_CLOCK,
    SHUTDOWN_STATE,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    connect,
    control,
    make_key,
    tpm,
    wait_for,
)
from vtpmd.ipc.messages import Failed, Rekey, Rekeyed, RekeyFailed
from vtpmd.storage.key import Key
from vtpmd.storage.record import ROLES
from vtpmd.storage.state_file import FILE_SIZE, PLACE_SIZE

NV_UNAVAILABLE = "80010000000a00000923"
OTHER_DEK_ID = bytes(range(16, 32))


def _generation(host: Host) -> int:
    return host.envelope().header.generation


def _other_key() -> Key:
    return Key(bytearray(b"n" * 32), OTHER_DEK_ID, make_key().slots)


def _power_on(host: Host) -> None:
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        assert control(sock, 0x02, bytes(4)) == bytes(4)
        assert tpm(data, STARTUP_CLEAR).hex() == SUCCESS


def test_the_state_is_on_disk_before_the_answer(host: Host) -> None:
    worker = host.serve()
    _power_on(host)
    generation = _generation(host)
    assert generation > 1
    assert worker.status().generation == generation
    worker.kill()
    assert _generation(host) == generation
    assert host.serve().status().generation == generation


def test_no_plaintext_reaches_the_disk(host: Host) -> None:
    host.serve()
    _power_on(host)
    with connect(host.control_path) as sock:
        assert control(sock, 0x0A) == bytes(4)
    for path in host.state.iterdir():
        assert b"seed" not in path.read_bytes()
        assert b"vtpmd-tpm-state" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


def test_stop_shuts_the_tpm_down_in_order(host: Host) -> None:
    worker = host.serve()
    _power_on(host)
    before = _generation(host)
    assert worker.stop() == _generation(host) > before


def test_sigterm_stops_in_order_too(host: Host) -> None:
    worker = host.serve()
    _power_on(host)
    before = _generation(host)
    os.kill(worker.pid, 15)
    worker.wait_until_ended()
    assert _generation(host) > before


def test_volatile_state_survives_the_worker(host: Host) -> None:
    worker = host.serve()
    _power_on(host)
    with connect(host.control_path) as sock:
        assert control(sock, 0x0A) == bytes(4)
    worker.kill()
    host.serve()
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        assert control(sock, 0x02, struct.pack(">I", 1)) == bytes(4)
        assert len(tpm(data, GET_RANDOM_16)) == 28  # no TPM2_Startup was needed
        assert host.stored("volatile") is None
        assert control(sock, 0x02, bytes(4)) == bytes(4)
        assert tpm(data, GET_RANDOM_16).hex() == "80010000000a00000100"


def test_a_damaged_volatile_state_refuses_init_and_stays(host: Host) -> None:
    worker = host.serve()
    (host.state / "volatile").write_bytes(b"nonsense")
    with connect(host.control_path) as sock:
        assert control(sock, 0x02, bytes(4)) == bytes.fromhex("00000009")
    assert "truncated" in worker.event("state-refused").detail
    assert (host.state / "volatile").read_bytes() == b"nonsense"
    assert worker.status().tpm == "off"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda data: bytes(len(data)), "damaged"),
        (lambda data: data[:9], "damaged"),
        (lambda data: b"", "damaged"),
    ],
)
def test_a_damaged_file_is_refused_and_left_alone(host: Host, change: object, kind: str) -> None:
    file = host.state / "nvram"
    file.write_bytes(change(file.read_bytes()))  # type: ignore[operator]
    before = file.read_bytes()
    worker, answer = host.try_to_serve()
    assert isinstance(answer, Failed)
    assert answer.kind == kind
    worker.wait_until_ended()
    assert file.read_bytes() == before


def test_a_missing_file_is_never_made_anew(host: Host) -> None:
    """The worker gets an empty one, whose supervisor has lost the state."""
    host.forget()
    _, answer = host.try_to_serve()
    assert isinstance(answer, Failed)
    assert answer.kind == "damaged"
    assert host.stored() is None


def test_the_wrong_key_is_told_from_damage(host: Host) -> None:
    _, answer = host.try_to_serve(key=replace(make_key(), dek=bytearray(32)))
    assert isinstance(answer, Failed)
    assert answer.kind == "key"


def test_the_file_of_another_instance_is_refused(host: Host) -> None:
    host.uuid = type(host.uuid)(int=1)
    _, answer = host.try_to_serve()
    assert isinstance(answer, Failed)
    assert answer.kind == "wrong-instance"


def test_manufacture_never_overwrites(host: Host) -> None:
    before = (host.state / "nvram").read_bytes()
    with pytest.raises(AssertionError, match="storage"):
        host.manufacture()
    assert (host.state / "nvram").read_bytes() == before


def test_an_unknown_bank_is_named(host: Host) -> None:
    host.forget()
    with pytest.raises(AssertionError, match="md5"):
        host.manufacture(("md5",))


def test_a_full_disk_is_noticed_before_a_command_and_told(host: Host) -> None:
    worker = host.serve()
    _power_on(host)
    with connect(host.control_path) as sock:
        assert control(sock, 0x0A) == bytes(4)
    worker.kill()
    # The limit on file sizes stands in for a full disk: what there is fits, no growth does.
    size = PLACE_SIZE + (16 << 10)
    os.truncate(host.state / "nvram", size)
    worker = host.serve()
    _limit_files(worker, size)
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        assert control(sock, 0x02, bytes(4)) == bytes(4)
        generation = _generation(host)
        assert tpm(data, SHUTDOWN_STATE).hex() == NV_UNAVAILABLE
        assert "File too large" in worker.event("storage-full").detail
        assert len(tpm(data, GET_RANDOM_16)) == 28  # what writes nothing goes on
        assert _generation(host) == generation
        _limit_files(worker, FILE_SIZE)
        assert tpm(data, SHUTDOWN_STATE).hex() == SUCCESS
        worker.event("storage-recovered")


def _limit_files(worker: WorkerProcess, size: int) -> None:
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (size, FILE_SIZE))


def test_what_is_not_whole_is_told_and_the_rest_served(host: Host) -> None:
    """The one is as an interrupted write leaves it, the other as none does."""
    host.serve()
    _power_on(host)
    host.workers[-1].kill()
    nvram, volatile = host.state / "nvram", host.state / "volatile"
    overwrite(nvram, bytes(512), older_place(nvram))
    overwrite(volatile, volatile.read_bytes()[:512], PLACE_SIZE)
    worker = host.serve()
    _power_on(host)
    assert worker.event("write-interrupted").detail == "permanent state"
    assert "record of place 0" in worker.event("state-damaged").detail
    # Each is told once, and what was interrupted is whole again.
    _power_on(host)
    assert not [event for event in worker.events if event.kind.startswith(("write", "state"))]


def test_rekey_seals_under_the_new_key_while_running(host: Host) -> None:
    worker = host.serve()
    _power_on(host)
    with connect(host.control_path) as sock:
        assert control(sock, 0x0A) == bytes(4)
    generation = worker.ask(Rekey(_other_key()), Rekeyed).generation
    for name in ROLES[:2]:
        assert host.envelope(name).header.dek_id == OTHER_DEK_ID
    assert generation == _generation(host)
    worker.kill()
    _, answer = host.try_to_serve()
    assert isinstance(answer, Failed)
    host.serve(key=_other_key())


def test_a_refused_rekey_changes_nothing(host: Host) -> None:
    worker = host.serve()
    answer = worker.ask(Rekey(Key(bytearray(b"short"), OTHER_DEK_ID, ())), RekeyFailed)
    assert "32 bytes" in answer.reason or "slots" in answer.reason
    _power_on(host)
    worker.kill()
    host.serve()


def test_reading_the_clock_writes_nothing(host: Host) -> None:
    host.serve()
    _power_on(host)
    before = (host.state / "nvram").read_bytes()
    with Qemu(host.control_path) as qemu:
        tpm(qemu.data, READ_CLOCK)
    wait_for(lambda: (host.state / "nvram").read_bytes() == before)
