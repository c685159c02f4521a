"""Orders that end with their answer, and rekeys: what opens with which key afterwards."""

import struct
import subprocess
import sys
from pathlib import Path
from uuid import UUID

from tests.state_files import envelope_of
from tests.worker.harness import (
    DEK_ID,
    GET_RANDOM_16,
    INSTANCE,
    SLOTS,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    connect,
    control,
    dek,
    files,
    get_blob,
    lock,
    prepare,
    tpm,
)
from vtpmd.ipc.messages import (
    Copy,
    Examine,
    Examined,
    Failed,
    Rekey,
    RekeyFailed,
    Reseal,
    Rewrap,
    Stored,
)
from vtpmd.storage.key import Key
from vtpmd.storage.record import ROLES

OTHER = UUID("6f1f7f5e-0d0b-4b8e-9a53-2f5a44f3b002")
OTHER_DEK_ID = bytes(range(16, 32))
PERMANENT, VOLATILE, SAVESTATE = 1, 2, 3


def other_dek() -> bytearray:
    return bytearray(b"\xa5" * 32)


def other_key() -> Key:
    return Key(other_dek(), OTHER_DEK_ID, SLOTS)


def reseal(host: Host, old: bytearray) -> Stored | Failed:
    order = Reseal(INSTANCE, "web1", Key(old, DEK_ID, SLOTS), other_key())
    worker = host.spawn()
    with files(host.state) as fds, lock(host.state) as claim:
        answer = worker.ask(order, Stored | Failed, [*fds, claim])  # type: ignore[arg-type]
    worker.wait_until_ended()
    assert isinstance(answer, Stored | Failed)
    return answer


def saved(host: Host) -> None:
    """A TPM that was started, with its volatile state stored."""
    worker = host.serve()
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        assert control(sock, 0x02, bytes(4)) == bytes(4)
        assert tpm(data, STARTUP_CLEAR).hex() == SUCCESS
        assert control(sock, 0x0A) == bytes(4)
    worker.kill()


def assert_resumes(host: Host, key: Key) -> None:
    host.serve(key=key)
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        assert control(sock, 0x02, bytes(4)) == bytes(4)
        assert len(tpm(data, GET_RANDOM_16)) == 28


def test_what_is_stored_is_sealed_under_another_key(host: Host) -> None:
    saved(host)
    answer = reseal(host, dek())
    assert isinstance(answer, Stored)
    for name in ROLES[:2]:
        assert host.envelope(name).header.dek_id == OTHER_DEK_ID
    assert answer.generation == host.envelope().header.generation
    assert_resumes(host, other_key())


def test_with_the_wrong_key_nothing_is_sealed_anew(host: Host) -> None:
    before = (host.state / "nvram").read_bytes()
    answer = reseal(host, other_dek())
    assert isinstance(answer, Failed)
    assert answer.kind == "key"
    assert (host.state / "nvram").read_bytes() == before


def test_a_copy_is_sealed_for_its_own_instance(host: Host, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    prepare(target, OTHER)
    with files(target) as fds, (host.state / "nvram").open("rb") as source:
        all_fds = [*fds, source.fileno()]
        order = Copy(OTHER, "web2", INSTANCE, dek(), other_key())
        assert host.spawn().ask(order, Stored, all_fds).generation == 1
        header = envelope_of(target / "nvram", OTHER).header
        assert (header.uuid, header.generation, header.dek_id) == (OTHER, 1, OTHER_DEK_ID)
        assert host.spawn().ask(order, Failed, all_fds).kind == "storage"  # it is there


def test_a_new_tpm_holds_nothing_of_an_owner(host: Host) -> None:
    with (host.state / "nvram").open("rb") as file:
        fds = [file.fileno()]
        found = host.spawn().ask(Examine(INSTANCE, "web1", dek()), Examined, fds)
        assert (found.generation, found.owner_objects, found.owner_indices) == (1, 0, 0)
        wrong = host.spawn().ask(Examine(OTHER, "web1", dek()), Failed, fds)
    assert wrong.kind == "wrong-instance"


def test_a_state_that_was_handed_over_is_not_rekeyed(host: Host) -> None:
    worker = host.serve()
    with Qemu(host.control_path) as qemu:
        qemu.start()
        tpm(qemu.data, STARTUP_CLEAR)
        get_blob(qemu.control, PERMANENT)
        get_blob(qemu.control, VOLATILE)
        control(qemu.control, 0x0C, struct.pack(">III", 1, SAVESTATE, 0), 16)
        before = (host.state / "nvram").read_bytes()
        for request in (Rewrap(SLOTS), Rekey(other_key())):
            assert "handed over" in worker.ask(request, RekeyFailed).reason
        assert (host.state / "nvram").read_bytes() == before


def test_keys_are_overwritten_when_an_order_ends() -> None:
    """In a process of its own, which confines itself."""
    script = """
from contextlib import suppress
from vtpmd.worker.orders import _confined
keys = bytearray(b"1" * 32), bytearray(b"2" * 32)
with suppress(ValueError), _confined("off", *keys):
    assert all(map(any, keys))
    raise ValueError
assert not any(map(any, keys))
"""
    subprocess.run([sys.executable, "-c", script], check=True)
