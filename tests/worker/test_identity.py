"""Who a TPM is, told by real workers, and the certificates that they put in."""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.worker.harness import (
    INSTANCE,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    Zygote,
    connect,
    control,
    dek,
    files,
    get_blob,
    lock,
    make_key,
    prepare,
    tpm,
)
from vtpmd.ipc.identity import (
    Certified,
    Certify,
    Complete,
    Identified,
    Identify,
    Identity,
    Installed,
    Made,
    NotCertified,
    ReadInstalled,
    Recertify,
)
from vtpmd.ipc.messages import ChangeHandOver, Failed, HandOverChanged, Manufacture, Message, Stored
from vtpmd.pki.certificates import moduli

KINDS = ("rsa-2048", "ecc-p256", "ecc-p384")
INDEX = {"rsa-2048": 0x01C00002, "ecc-p256": 0x01C0000A, "ecc-p384": 0x01C00016}
CHAIN = 0x01C00100
CERTIFICATES = {kind: kind.encode() * 100 for kind in KINDS}
ISSUERS = (b"issuer" * 90, b"the one above it")
SAVESTATE = 3


def order() -> Manufacture:
    return Manufacture(INSTANCE, "web1", "default-v1", ("sha256",), make_key(), keys=KINDS)


@pytest.fixture
def empty(zygote: Zygote, tmp_path: Path) -> Iterator[Host]:
    """A place for an instance."""
    host = Host(zygote, tmp_path)
    prepare(host.state)
    yield host
    host.close()


@pytest.fixture
def made(empty: Host) -> tuple[Host, Identity]:
    """An instance whose certificates are in NV, and what was said of it."""
    worker = empty.spawn()
    with files(empty.state) as fds:
        told = worker.ask(order(), Made, fds)
        assert empty.stored() is None
        worker.ask(Complete(CERTIFICATES, ISSUERS), Stored)
    worker.wait_until_ended()
    return empty, told.identity


def once(host: Host, message: Message, *, with_files: bool = False) -> object:
    """What a worker answers that is spawned for this."""
    worker = host.spawn()
    with files(host.state) as fds, lock(host.state) as claim:
        answer: object = worker.ask(message, object, [*fds, claim] if with_files else fds[:1])
    worker.wait_until_ended()
    return answer


def read(host: Host, index: int) -> bytes:
    """What a guest finds at an index, empty if there is none."""
    with connect(host.data_path) as data:
        public = tpm(data, f"80010000000e00000169{index:08x}")
        if public[6:10] != bytes(4):
            return b""
        size = int.from_bytes(public[12 + 12 :][:2])
        assert size <= 1024
        body = struct.pack(">II", index, index) + bytes.fromhex("00000009400000090000000000")
        body += struct.pack(">HH", size, 0)
        answer = tpm(data, (struct.pack(">HII", 0x8002, 10 + len(body), 0x14E) + body).hex())
        assert answer[6:10] == bytes(4), answer.hex()
        return answer[16 : 16 + size]


def start_up(host: Host) -> None:
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        assert control(sock, 0x02, bytes(4)) == bytes(4)
        assert tpm(data, STARTUP_CLEAR).hex() == SUCCESS


def test_a_new_tpm_says_who_it_is_and_has_what_it_is_given(made: tuple[Host, Identity]) -> None:
    host, told = made
    assert set(told.keys) == set(told.names) == set(KINDS)
    assert all(load_der_public_key(key) for key in told.keys.values())
    assert (told.reported.manufacturer, told.reported.family) == ("5654504D", "2.0")
    assert told.requests == {}
    host.serve()
    start_up(host)
    for kind, octets in CERTIFICATES.items():
        assert read(host, INDEX[kind]) == octets
    assert (read(host, CHAIN), read(host, CHAIN + 1)) == ISSUERS


def test_whoever_asks_later_is_told_the_same(made: tuple[Host, Identity]) -> None:
    host, told = made
    host.serve()
    message = Identify(INSTANCE, "web1", dek(), KINDS, requests=True, subject="somebody")
    known = replace(message, dek=dek(), moduli=moduli(told.keys))
    assert set(known.moduli) == {"rsa-2048"}
    answer = once(host, known)
    unaided = once(host, message)
    assert isinstance(unaided, Identified)
    assert unaided.identity.keys == told.keys
    assert isinstance(answer, Identified)
    again = answer.identity
    assert (again.seed, again.keys, again.names) == (told.seed, told.keys, told.names)
    for kind, octets in again.requests.items():
        request = x509.load_der_x509_csr(octets)
        assert request.is_signature_valid
        assert request.public_key() == load_der_public_key(told.keys[kind])
        assert [name.value for name in request.subject] == ["somebody"]
    brief = once(host, Identify(INSTANCE, "web1", dek(), ()))
    assert isinstance(brief, Identified)
    assert (brief.identity.seed, brief.identity.keys) == (told.seed, {})


def test_certificates_of_a_running_tpm_are_replaced_durably(made: tuple[Host, Identity]) -> None:
    host, told = made
    worker = host.serve()
    start_up(host)
    before = worker.ask(ReadInstalled(), Installed)
    assert before.seed == told.seed
    assert before.certificates == {
        kind: hashlib.sha256(octets).digest() for kind, octets in CERTIFICATES.items()
    } | {"chain": hashlib.sha256(b"".join(ISSUERS)).digest()}
    new = Certify(told.seed, {"ecc-p384": b"new"}, (b"other",))
    generation = worker.ask(new, Certified).generation
    assert host.envelope().header.generation == generation
    worker.kill()
    host.serve()
    start_up(host)
    assert (read(host, INDEX["ecc-p384"]), read(host, CHAIN)) == (b"new", b"other")
    assert read(host, INDEX["rsa-2048"]) == read(host, CHAIN + 1) == b""


def test_certificates_for_another_seed_are_refused(made: tuple[Host, Identity]) -> None:
    host, _ = made
    before = host.stored()
    worker = host.serve()
    refused = worker.ask(Certify(bytes(32), {"rsa-2048": b"new"}, ()), NotCertified)
    assert refused.kind == "certificates"
    assert "seed" in refused.reason
    worker.stop()
    message = Recertify(INSTANCE, "web1", make_key(), bytes(32), {"rsa-2048": b"new"}, ())
    answer = once(host, message, with_files=True)
    assert isinstance(answer, Failed)
    assert (answer.kind, host.stored()) == ("certificates", before)


def test_certificates_of_a_stored_tpm_are_replaced(made: tuple[Host, Identity]) -> None:
    host, told = made
    message = Recertify(INSTANCE, "web1", make_key(), told.seed, {"rsa-2048": b"new"}, (b"other",))
    first = once(host, message, with_files=True)
    again = once(host, message, with_files=True)
    assert isinstance(first, Stored)
    assert first == again  # there was nothing to store
    worker = host.serve()
    installed = worker.ask(ReadInstalled(), Installed).certificates
    assert installed.keys() == {"rsa-2048", "chain"}


def test_a_tpm_that_was_handed_over_gets_none(made: tuple[Host, Identity]) -> None:
    host, told = made
    worker = host.serve()
    with Qemu(host.control_path) as qemu:
        qemu.start()
        tpm(qemu.data, STARTUP_CLEAR)
        worker.ask(ChangeHandOver("declare"), HandOverChanged)
        for kind in (1, 2):
            get_blob(qemu.control, kind)
        control(qemu.control, 0x0C, struct.pack(">III", 1, SAVESTATE, 0), 16)
        before = host.stored()
        answer = worker.ask(Certify(told.seed, {"rsa-2048": b"new"}, ()), NotCertified)
        assert "handed over" in answer.reason
        assert host.stored() == before
    worker.stop()
    before = host.stored()
    message = Recertify(INSTANCE, "web1", make_key(), told.seed, {"rsa-2048": b"new"}, ())
    refused = once(host, message, with_files=True)
    assert isinstance(refused, Failed)
    assert "handed over" in refused.reason
    assert host.stored() == before


def test_nothing_is_stored_unless_it_is_completed(empty: Host) -> None:
    worker = empty.spawn()
    with files(empty.state) as fds:
        worker.ask(order(), Made, fds)
    worker.channel.close()
    worker.wait_until_ended()
    assert empty.stored() is None


def test_too_large_certificates_leave_nothing(empty: Host) -> None:
    worker = empty.spawn()
    with files(empty.state) as fds:
        worker.ask(order(), Made, fds)
    answer = worker.ask(Complete({"rsa-2048": bytes(2049)}, ()), Failed)
    assert (answer.kind, empty.stored()) == ("certificates", None)
