"""Attestation by ML-DSA and HashML-DSA keys (Part 3, 18 and 31.16; errata 1, 2.6 to 2.8)."""

import hashlib
import struct

import pytest

from tests.tpm import areas
from tests.tpm.areas import NO_DA, NONE, OWN, RESTRICTED, SIGN, words
from tests.tpm.commands.nv_area import INDEX, OWNER_RW, Area
from tests.tpm.commands.test_attestation import Attested
from tests.tpm.commands.test_certify_x509 import DIGITAL_SIGNATURE, partial
from tests.tpm.harness import (
    AUDIT,
    CONTINUE,
    HASH_NAMES,
    EnginePeer,
    Password,
    Result,
    Tester,
    sized,
)
from tests.tpm.known_keys import ecc_areas, hmac_areas
from tests.tpm.seeded_keys import SIGNERS, hash_mldsa_areas, kem_areas, mldsa_areas
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, MLDSA_PARMS, RH, ST

NONCE = sized(b"nonce")
PCRS = struct.pack(">IHB", 1, ALG.SHA256, 3) + b"\x07\0\0"
OID = {
    ALG.SHA256: bytes.fromhex("0609608648016503040201"),
    ALG.SHA384: bytes.fromhex("0609608648016503040202"),
}


def restricted(kind: str, alg: int = ALG.SHA256, parms: int = MLDSA_PARMS.MLDSA_44) -> bytes:
    """Template of an attestation key; HashML-DSA by SHA-384."""
    attributes = OWN | SIGN | RESTRICTED | NO_DA
    if kind == "MLDSA":
        return areas.mldsa(attributes, alg=alg, parms=parms)
    return areas.hash_mldsa(attributes, alg=alg, parms=parms, hash_alg=ALG.SHA384)


def accepted(public: bytes, attested: Attested) -> bool:
    """Whether an implementation of FIPS 204 accepts the signature of what was attested."""
    pure = int.from_bytes(public[:2]) == ALG.MLDSA
    parms = MLDSA_PARMS(int.from_bytes(public[10:12]))
    oracle, key = SIGNERS[parms], Result(0, None, public[12 + (1 if pure else 2) :]).sized()
    if pure:
        assert attested.signature[:2] == words(ALG.MLDSA)
        signature = Result(0, None, attested.signature[2:]).sized()
        genuine: bool = oracle.verify(key, attested.octets, signature, b"")
        return genuine
    assert attested.signature[:4] == words(ALG.HASH_MLDSA, ALG.SHA384)
    signature = Result(0, None, attested.signature[4:]).sized()
    formatted = b"\1\0" + OID[ALG.SHA384] + hashlib.sha384(attested.octets).digest()
    genuine = oracle._verify_internal(key, formatted, signature)
    return genuine


@pytest.fixture(params=["MLDSA", "HASH_MLDSA"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def attested(tester: Tester, code: int, handles: list[int], params: bytes, auths: int) -> Attested:
    answer = tester.run(code, handles, params, [Password()] * auths)
    assert answer.rc == 0, hex(answer.rc)
    return Attested(answer)


def test_every_attestation_command(pqc: Tester, kind: str) -> None:
    created = areas.create_primary(pqc, restricted(kind))
    key, public = created.handle, created.sized(0)
    assert key is not None
    endorsement = int(RH.ENDORSEMENT)
    assert isinstance(pqc.peer, EnginePeer)
    define = sized(b"") + sized(Area(attributes=OWNER_RW, size=64).marshal())
    assert pqc.run(CC.NV_DEFINE_SPACE, [RH.OWNER], define, [Password()]).rc == 0
    write = sized(bytes(64)) + words(0)
    assert pqc.run(CC.NV_WRITE, [RH.OWNER, INDEX], write, [Password()]).rc == 0
    session = pqc.start_session()
    session.attributes = CONTINUE | AUDIT
    assert pqc.run(CC.GET_RANDOM, params=words(8), auths=[session]).rc == 0
    data = Result(0, None, created.parameters)
    creation_hash, ticket = data.sized(2), created.parameters[:]
    offset = sum(2 + len(data.sized(number)) for number in range(3))
    ticket = created.parameters[offset : offset + 2 + 4 + 2 + 64]
    proof = NONCE + sized(creation_hash) + NONE + ticket
    commands: dict[int, tuple[list[int], bytes, int, int]] = {
        CC.QUOTE: ([key], NONCE + NONE + PCRS, 1, ST.ATTEST_QUOTE),
        CC.CERTIFY: ([key, key], NONCE + NONE, 2, ST.ATTEST_CERTIFY),
        CC.CERTIFY_CREATION: ([key, key], proof, 1, ST.ATTEST_CREATION),
        CC.GET_TIME: ([endorsement, key], NONCE + NONE, 2, ST.ATTEST_TIME),
        CC.GET_COMMAND_AUDIT_DIGEST: (
            [endorsement, key],
            NONCE + NONE,
            2,
            ST.ATTEST_COMMAND_AUDIT,
        ),
        CC.GET_SESSION_AUDIT_DIGEST: (
            [endorsement, key, session.handle],
            NONCE + NONE,
            2,
            ST.ATTEST_SESSION_AUDIT,
        ),
        CC.NV_CERTIFY: (
            [key, RH.OWNER, INDEX],
            NONCE + NONE + words(64, 0),
            2,
            ST.ATTEST_NV,
        ),
    }
    for code, (handles, params, auths, tag) in commands.items():
        found = attested(pqc, code, handles, params, auths)
        assert (found.kind, found.extra) == (tag, b"nonce"), CC(code).name
        assert accepted(public, found), CC(code).name


def test_the_digest_of_a_quote_without_a_scheme_hash(pqc: Tester, kind: str) -> None:
    """By the key's nameAlg for ML-DSA (errata 1, 2.6), by its own hash for HashML-DSA."""
    for alg in (ALG.SHA256, ALG.SHA512):
        key = areas.loaded_primary(pqc, restricted(kind, alg))
        quote = attested(pqc, CC.QUOTE, [key], NONCE + NONE + PCRS, 1)
        hashed = HASH_NAMES[ALG(alg)] if kind == "MLDSA" else "sha384"
        digest = hashlib.new(hashed, bytes(96)).digest()
        assert quote.rest == PCRS + sized(digest)
        areas.flush(pqc, key)


def test_the_digest_of_an_index_without_a_scheme_hash(pqc: Tester, kind: str) -> None:
    """Errata 1, 2.7."""
    define = sized(b"") + sized(Area(attributes=OWNER_RW, size=64).marshal())
    assert pqc.run(CC.NV_DEFINE_SPACE, [RH.OWNER], define, [Password()]).rc == 0
    write = sized(b"x" * 64) + words(0)
    assert pqc.run(CC.NV_WRITE, [RH.OWNER, INDEX], write, [Password()]).rc == 0
    key = areas.loaded_primary(pqc, restricted(kind, ALG.SHA512))
    params = NONCE + NONE + words(0, 0)
    found = attested(pqc, CC.NV_CERTIFY, [key, RH.OWNER, INDEX], params, 2)
    assert found.kind == ST.ATTEST_NV_DIGEST
    hashed = "sha512" if kind == "MLDSA" else "sha384"
    assert found.rest.endswith(sized(hashlib.new(hashed, b"x" * 64).digest()))


def test_a_key_without_a_name_has_no_hash(pqc: Tester) -> None:
    """Errata 1, 2.6 and 2.7; what has no digest inside is attested."""
    public, sensitive = mldsa_areas(alg=ALG.NULL)
    key = areas.loaded_external(pqc, public, sensitive)
    quote = pqc.run(CC.QUOTE, [key], NONCE + NONE + PCRS, [Password()])
    assert quote.rc == RC.SCHEME | 0x240
    params, auths = NONCE + NONE, [Password(), Password()]
    assert pqc.run(CC.GET_TIME, [RH.ENDORSEMENT, key], params, auths).rc == 0


@pytest.mark.parametrize(
    ("pair", "scheme", "code"),
    [
        (mldsa_areas(), words(ALG.MLDSA), 0),
        (mldsa_areas(), NONE, 0),
        (mldsa_areas(), words(ALG.HASH_MLDSA), RC.SCHEME | 0x240),
        (mldsa_areas(), words(ALG.ECDSA, ALG.SHA256), RC.SCHEME | 0x240),
        (hash_mldsa_areas(), words(ALG.HASH_MLDSA), 0),
        (hash_mldsa_areas(), words(ALG.MLDSA), RC.SCHEME | 0x240),
        (ecc_areas(SIGN), words(ALG.MLDSA), RC.SCHEME | 0x240),
        (hmac_areas(SIGN, words(ALG.HMAC, ALG.SHA256)), words(ALG.MLDSA), RC.SCHEME | 0x240),
        (kem_areas(), NONE, RC.KEY | 0x100),
    ],
)
def test_the_scheme_of_the_key_is_not_overridden(
    pqc: Tester, pair: tuple[bytes, bytes], scheme: bytes, code: int
) -> None:
    """18.1; for these schemes there are no details (errata 1, 2.3)."""
    key = areas.loaded_external(pqc, *pair)
    assert pqc.run(CC.QUOTE, [key], NONCE + scheme + PCRS, [Password()]).rc == code


def test_a_quote_without_a_key_needs_a_hash(pqc: Tester) -> None:
    params = NONCE + words(ALG.MLDSA) + PCRS
    assert pqc.run(CC.QUOTE, [RH.NULL], params, [Password()]).rc == RC.SCHEME | 0x240


def test_everything_fits_into_the_buffer_of_a_crb(pqc: Tester) -> None:
    """3,968 octets: an attestation by ML-DSA-65, but not one of much that is stored."""
    assert isinstance(pqc.peer, EnginePeer)
    created = areas.create_primary(pqc, restricted("MLDSA", parms=MLDSA_PARMS.MLDSA_65))
    key, public = created.handle, created.sized(0)
    assert key is not None
    define = sized(b"") + sized(Area(attributes=OWNER_RW, size=1024).marshal())
    assert pqc.run(CC.NV_DEFINE_SPACE, [RH.OWNER], define, [Password()]).rc == 0
    write = sized(bytes(1024)) + words(0)
    assert pqc.run(CC.NV_WRITE, [RH.OWNER, INDEX], write, [Password()]).rc == 0
    pqc.peer.engine.buffer_size = 3968
    quote = attested(pqc, CC.QUOTE, [key], NONCE + NONE + PCRS, 1)
    assert accepted(public, quote)
    handles = [key, int(RH.OWNER), INDEX]
    rest, auths = NONCE + NONE, [Password(), Password()]
    largest = 0
    for size in range(1025):
        command = words(size, 1024 - size)
        found = pqc.run(CC.NV_CERTIFY, handles, rest + command, auths)
        if found.rc:
            assert found.rc == RC.SIZE | 0x340, "errata 1, 2.8"
            break
        largest = 10 + 4 + len(found.parameters) + 2 * 5
    assert largest == 3968
    whole = pqc.run(CC.NV_CERTIFY, handles, rest + words(0, 0), auths)
    assert whole.rc == 0, "a digest always fits"


def test_what_does_not_fit_changes_nothing(pqc: Tester) -> None:
    """The audit digest is still to be signed; the harness compares all of the state."""
    assert isinstance(pqc.peer, EnginePeer)
    template = restricted("MLDSA", ALG.SHA512, MLDSA_PARMS.MLDSA_65)
    key = areas.loaded_primary(pqc, template)
    audited = NONE + struct.pack(">II", 1, CC.GET_RANDOM) + bytes(4)
    answer = pqc.run(CC.SET_COMMAND_CODE_AUDIT_STATUS, [RH.OWNER], audited, [Password()])
    assert answer.rc == 0
    assert pqc.run(CC.GET_RANDOM, params=words(8)).rc == 0
    handles, params = [int(RH.ENDORSEMENT), key], NONCE + NONE
    auths = [Password(), Password()]
    pqc.peer.engine.buffer_size = 3500
    assert pqc.run(CC.GET_COMMAND_AUDIT_DIGEST, handles, params, auths).rc == RC.SIZE
    pqc.peer.engine.buffer_size = 4096
    found = attested(pqc, CC.GET_COMMAND_AUDIT_DIGEST, handles, params, 2)
    assert found.rest[10:12] == words(64), "the digest is not empty"


def test_certificates_are_not_for_these_keys(pqc: Tester) -> None:
    """A key of 1,312 octets does not fit into addedToCertificate, and there is no tbsDigest."""
    subject = areas.loaded_external(pqc, *ecc_areas(SIGN | areas.X509_SIGN))
    signer = areas.loaded_external(pqc, *mldsa_areas())
    params = sized(b"") + NONE + sized(partial(DIGITAL_SIGNATURE))
    auths = [Password(), Password()]
    answer = pqc.run(CC.CERTIFY_X509, [subject, signer], params, auths)
    assert answer.rc == RC.SCHEME | 0x200
    scheme = words(ALG.ECDSA, ALG.SHA256)
    params = sized(b"") + scheme + sized(partial(DIGITAL_SIGNATURE))
    answer = pqc.run(CC.CERTIFY_X509, [signer, subject], params, auths)
    assert answer.rc == RC.ASYMMETRIC | 0x100
