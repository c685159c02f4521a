"""Primary Objects: octet for octet those of libtpms with the same seeds (24.1 and 12.9)."""

import hmac
import struct
from pathlib import Path

import pytest

from tests.oracles import libtpms_state
from tests.tpm import areas
from tests.tpm.areas import (
    AES_128_CFB,
    DECRYPT,
    FIXED,
    MOVABLE,
    NO_DA,
    OWN,
    RESTRICTED,
    SIGN,
    ST_CLEAR,
    STORAGE,
    USER_AUTH,
    words,
)
from tests.tpm.harness import EnginePeer, Password, Tester, digest, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE, RH

HIERARCHIES = (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM)
XOR = words(ALG.XOR, ALG.SHA256, ALG.KDF1_SP800_108)
TEMPLATES = {
    "RSA storage": areas.rsa(OWN | STORAGE | NO_DA, symmetric=AES_128_CFB, unique=bytes(256)),
    "RSA signing": areas.rsa(OWN | SIGN),
    "RSA movable decryption": areas.rsa(MOVABLE | DECRYPT, exponent=65537),
    "RSA attestation": areas.rsa(
        OWN | SIGN | RESTRICTED, scheme=words(ALG.RSAPSS, ALG.SHA384), alg=ALG.SHA384
    ),
    "P-256 storage": areas.storage(),
    "P-256 storage of unique": areas.ecc(
        OWN | STORAGE, symmetric=AES_128_CFB, x=b"x" * 32, y=b"y" * 31
    ),
    "P-384 signing": areas.ecc(
        OWN | SIGN, curve=ECC_CURVE.NIST_P384, scheme=words(ALG.ECDSA, ALG.SHA384)
    ),
    "P-521 storage, SHA-512": areas.ecc(
        OWN | STORAGE,
        alg=ALG.SHA512,
        curve=ECC_CURVE.NIST_P521,
        symmetric=words(ALG.AES, 256, ALG.CFB),
    ),
    "P-256 storage, SHA-1": areas.storage(alg=ALG.SHA1),
    "AES-128": areas.symcipher(OWN | DECRYPT),
    "AES-256 storage": areas.symcipher(OWN | STORAGE, symmetric=words(ALG.AES, 256, ALG.CFB)),
    "HMAC key": areas.keyedhash(OWN | SIGN, scheme=words(ALG.HMAC, ALG.SHA384)),
    "derivation parent": areas.keyedhash(OWN | STORAGE, scheme=XOR),
    "stClear": areas.storage(OWN | ST_CLEAR),
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_all_of_the_answer_is_that_of_libtpms(
    testers: tuple[Tester, Tester], template: bytes
) -> None:
    data = b"" if template[:2] == words(ALG.RSA) else b"more entropy"
    pcrs = struct.pack(">IHB3sHB3s", 2, ALG.SHA256, 3, b"\xff\0\x01", ALG.SHA1, 3, b"\x01\0\0")
    for hierarchy in HIERARCHIES:
        parameters = areas.create_parameters(template, b"secret\0\0", data, b"outside", pcrs)
        engine, swtpm = (
            tester.run(CC.CREATE_PRIMARY, [hierarchy], parameters, [Password()])
            for tester in testers
        )
        assert (engine.rc, engine.handle) == (0, 0x80000000)
        assert engine == swtpm
        for tester in testers:
            areas.flush(tester, 0x80000000)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_create_loaded_makes_the_same_primary(
    testers: tuple[Tester, Tester], template: bytes
) -> None:
    parameters = areas.sensitive_create() + sized(template)
    engine, swtpm = (
        tester.run(CC.CREATE_LOADED, [RH.OWNER], parameters, [Password()]) for tester in testers
    )
    assert engine.rc == 0
    assert engine == swtpm
    assert engine.sized(0) == b""
    primary = areas.create_primary(testers[0], template)
    assert primary.sized(0) == engine.sized(1)


def test_a_given_secret_is_taken(testers: tuple[Tester, Tester]) -> None:
    for template, data in (
        (areas.sealed(), b"sealed data"),
        (areas.keyedhash(FIXED | USER_AUTH | SIGN, scheme=words(ALG.HMAC, ALG.SHA1)), b"k" * 64),
        (areas.symcipher(FIXED | USER_AUTH | DECRYPT), b"k" * 16),
    ):
        engine, swtpm = (areas.create_primary(tester, template, data=data) for tester in testers)
        assert engine.rc == 0
        assert engine == swtpm
        for tester in testers:
            areas.flush(tester, 0x80000000)


@pytest.mark.parametrize(
    ("number", "told"), [(0, 0x01), (1, 0x02), (4, 0x10), (0x20, 0x20), (0xFF, 0xFF)]
)
def test_creation_data_tell_the_locality(tester: Tester, number: int, told: int) -> None:
    """TPMA_LOCALITY: a bit for each of the first five, the number itself for an extended one."""
    tester.peer.set_locality(number)
    created = areas.create_primary(tester, areas.storage())
    assert created.rc == 0
    # An empty selection and the digest of no PCRs come before it.
    assert created.sized(1)[4 + 34 :][:1] == bytes((told,))


def test_name_and_creation_data_as_part_1_says(tester: Tester) -> None:
    template = areas.storage()
    tester.peer.set_locality(2)
    pcrs = struct.pack(">IHB3s", 1, ALG.SHA256, 3, b"\x01\0\0")
    parameters = areas.create_parameters(template, outside=b"outside", pcrs=pcrs)
    created = tester.run(CC.CREATE_PRIMARY, [RH.ENDORSEMENT], parameters, [Password()])
    public, data, creation_hash = (created.sized(number) for number in range(3))
    owner = RH.ENDORSEMENT.to_bytes(4)
    assert data == pcrs + sized(digest(ALG.SHA256, bytes(32))) + b"\x04" + words(ALG.NULL) + sized(
        owner
    ) * 2 + sized(b"outside")
    assert creation_hash == digest(ALG.SHA256, data)
    name = areas.name_of(public)
    assert created.parameters.endswith(sized(name))
    assert created.handle is not None
    answer = tester.run(CC.READ_PUBLIC, [created.handle])
    assert answer.sized(0) == public
    assert answer.sized(1) == name
    assert answer.sized(2) == words(ALG.SHA256) + digest(ALG.SHA256, owner, name)


def test_pcrs_of_a_bank_that_is_not_allocated_are_left_out(sha3_tester: Tester) -> None:
    pcrs = struct.pack(">IHB3s", 1, ALG.SHA3_256, 3, b"\x01\0\x80")
    parameters = areas.create_parameters(areas.storage(), pcrs=pcrs)
    created = sha3_tester.run(CC.CREATE_PRIMARY, [RH.OWNER], parameters, [Password()])
    left = struct.pack(">IHB3s", 1, ALG.SHA3_256, 3, bytes(3))
    assert created.sized(1).startswith(left + sized(digest(ALG.SHA256)))


def test_an_object_of_the_null_hierarchy_lasts_until_reset(tester: Tester) -> None:
    template = areas.storage()
    first = areas.create_primary(tester, template, hierarchy=RH.NULL)
    again = areas.create_primary(tester, template, hierarchy=RH.NULL)
    assert first.sized(0) == again.sized(0)
    tester.reset()
    assert areas.create_primary(tester, template, hierarchy=RH.NULL).sized(0) != first.sized(0)


def test_slots_run_out_before_anything_else(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        for number in range(3):
            assert areas.create_primary(tester, areas.storage()).handle == 0x80000000 + number
        assert areas.create_primary(tester, areas.storage(0)).rc == RC.OBJECT_MEMORY
        areas.flush(tester, 0x80000001)
        assert areas.create_primary(tester, areas.storage()).handle == 0x80000001


def test_the_authorization_value_counts_without_trailing_zeros(both: tuple[Tester, Tester]) -> None:
    template = areas.storage()
    for tester in both:
        padded = b"auth".ljust(40, b"\0")
        created = areas.create_primary(tester, template, auth=padded)
        assert created.rc == 0
        assert created.handle is not None
        answer = areas.create(
            tester, created.handle, areas.sealed(), data=b"d", parent_auth=b"auth"
        )
        assert answer.rc == 0
        too_long = areas.create_primary(tester, template, auth=b"x" * 33)
        assert too_long.rc == RC.SIZE | 0x1C0


def test_a_failed_command_takes_no_slot(tester: Tester, engine_peer: EnginePeer) -> None:
    before = engine_peer.engine.volatile()
    assert areas.create_primary(tester, areas.storage(0)).rc == RC.ATTRIBUTES | 0x2C0
    bad_exponent = areas.rsa(OWN | SIGN, exponent=65539 * 3)
    assert areas.create_primary(tester, bad_exponent).rc == RC.RANGE
    assert engine_peer.engine.volatile() == before


def test_the_creation_ticket_is_an_hmac_under_the_proof(
    testers: tuple[Tester, Tester], short_path: Path
) -> None:
    """Independent of swtpm's answers: the value is computed from what swtpm has stored."""
    state = libtpms_state.read(short_path / "peer.state" / "tpm2-00.permall")
    created = areas.create_primary(testers[0], areas.storage(), hierarchy=RH.ENDORSEMENT)
    name = areas.name_of(created.sized(0))
    proof = hmac.digest(state.proofs["e"], b"\x80\x21" + name + created.sized(2), "sha512")
    ticket = b"\x80\x21" + RH.ENDORSEMENT.to_bytes(4) + sized(proof)
    assert ticket + sized(name) == created.parameters[-len(ticket) - len(sized(name)) :]
