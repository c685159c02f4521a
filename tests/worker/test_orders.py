"""Orders that end with their answer, and rekeys: what opens with which key afterwards."""

import struct
from dataclasses import replace
from pathlib import Path
from uuid import UUID

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
    directory,
    get_blob,
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
from vtpmd.storage.envelope import parse

OTHER = UUID("6f1f7f5e-0d0b-4b8e-9a53-2f5a44f3b002")
OTHER_DEK_ID = bytes(range(16, 32))
PERMANENT, VOLATILE, SAVESTATE = 1, 2, 3


def other_dek() -> bytearray:
    return bytearray(b"\xa5" * 32)


def reseal(host: Host, old: bytearray) -> Stored | Failed:
    order = Reseal(INSTANCE, "web1", old, DEK_ID, other_dek(), OTHER_DEK_ID, SLOTS)
    worker = host.spawn()
    with directory(host.state) as fd:
        answer = worker.ask(order, Stored | Failed, [fd])  # type: ignore[arg-type]
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


def assert_resumes(host: Host, key: bytearray, key_id: bytes) -> None:
    host.serve(dek=key, dek_id=key_id)
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        assert control(sock, 0x02, bytes(4)) == bytes(4)
        assert len(tpm(data, GET_RANDOM_16)) == 28


def test_what_is_stored_is_sealed_under_another_key(host: Host) -> None:
    saved(host)
    answer = reseal(host, dek())
    assert isinstance(answer, Stored)
    for name in ("nvram", "volatile"):
        assert parse((host.state / name).read_bytes()).header.dek_id == OTHER_DEK_ID
    assert answer.generation == parse((host.state / "nvram").read_bytes()).header.generation
    assert_resumes(host, other_dek(), OTHER_DEK_ID)


def test_with_the_wrong_key_nothing_is_sealed_anew(host: Host) -> None:
    before = (host.state / "nvram").read_bytes()
    answer = reseal(host, other_dek())
    assert isinstance(answer, Failed)
    assert answer.kind == "key"
    assert (host.state / "nvram").read_bytes() == before


def test_a_copy_is_sealed_for_its_own_instance(host: Host, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    target.mkdir(mode=0o700)
    order = Copy(OTHER, "web2", INSTANCE, dek(), other_dek(), OTHER_DEK_ID, SLOTS)
    with directory(target) as fd, directory(host.state) as source:
        assert host.spawn().ask(order, Stored, [fd, source]).generation == 1
    header = parse((target / "nvram").read_bytes()).header
    assert (header.uuid, header.generation, header.dek_id) == (OTHER, 1, OTHER_DEK_ID)
    with directory(target) as fd, directory(host.state) as source:
        again = replace(order, source_dek=dek(), dek=other_dek())
        assert host.spawn().ask(again, Failed, [fd, source]).kind == "storage"  # it is there


def test_a_new_tpm_holds_nothing_of_an_owner(host: Host) -> None:
    with directory(host.state) as fd:
        found = host.spawn().ask(Examine(INSTANCE, "web1", dek()), Examined, [fd])
        assert (found.generation, found.owner_objects, found.owner_indices) == (1, 0, 0)
        wrong = host.spawn().ask(Examine(OTHER, "web1", dek()), Failed, [fd])
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
        for request in (Rewrap(SLOTS), Rekey(other_dek(), OTHER_DEK_ID, SLOTS)):
            assert "handed over" in worker.ask(request, RekeyFailed).reason
        assert (host.state / "nvram").read_bytes() == before
