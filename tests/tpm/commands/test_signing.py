"""Part 3, chapter 20: the same codes as swtpm, and signatures that others verify."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from tests.tpm import areas
from tests.tpm.areas import DECRYPT, NONE, RESTRICTED, SIGN, X509_SIGN, words
from tests.tpm.harness import Password, Result, Tester, sized
from tests.tpm.known_keys import (
    H1,
    HMAC_KEY,
    P1,
    P2,
    P3,
    Pair,
    cipher_areas,
    ecc_areas,
    ecc_key,
    hmac_areas,
    rsa_areas,
    rsa_key,
)
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE, RH, ST

DIGEST = hashlib.sha256(b"message").digest()
NULL_TICKET = words(ST.HASHCHECK) + RH.NULL.to_bytes(4) + words(0)
RSASSA, RSAPSS = words(ALG.RSASSA, ALG.SHA256), words(ALG.RSAPSS, ALG.SHA256)
ECDSA, ECSCHNORR = words(ALG.ECDSA, ALG.SHA256), words(ALG.ECSCHNORR, ALG.SHA256)
HMAC, ECDAA = words(ALG.HMAC, ALG.SHA256), words(ALG.ECDAA, ALG.SHA256, 0)
SCHEMES = {
    "null": NONE,
    "rsassa": RSASSA,
    "rsassa-sha1": words(ALG.RSASSA, ALG.SHA1),
    "rsapss": RSAPSS,
    "ecdsa": ECDSA,
    "ecdsa-sha512": words(ALG.ECDSA, ALG.SHA512),
    "ecschnorr": ECSCHNORR,
    "ecdaa": ECDAA,
    "hmac": HMAC,
    "hmac-sha1": words(ALG.HMAC, ALG.SHA1),
}
KEYS = {
    "rsa": rsa_areas(SIGN),
    "rsa with rsassa": rsa_areas(SIGN, RSASSA),
    "rsa with rsapss": rsa_areas(SIGN, RSAPSS),
    "rsa for all": rsa_areas(SIGN | DECRYPT),
    "rsa to decrypt": rsa_areas(DECRYPT),
    "rsa for certificates": rsa_areas(SIGN | X509_SIGN),
    "ecc": ecc_areas(SIGN),
    "ecc with ecdsa": ecc_areas(SIGN, ECDSA),
    "ecc with ecdaa": ecc_areas(SIGN, ECDAA),
    "p384": ecc_areas(SIGN, curve=ECC_CURVE.NIST_P384),
    "p521": ecc_areas(SIGN, curve=ECC_CURVE.NIST_P521),
    "hmac": hmac_areas(SIGN | DECRYPT),
    "hmac with hmac": hmac_areas(SIGN, HMAC),
    "data": hmac_areas(0),
    "cipher": cipher_areas(SIGN | DECRYPT),
}
DETERMINISTIC = (ALG.RSASSA, ALG.HMAC)


def sign(digest: bytes = DIGEST, scheme: bytes = NONE, ticket: bytes = NULL_TICKET) -> bytes:
    """Parameters of TPM2_Sign."""
    return sized(digest) + scheme + ticket


@pytest.mark.parametrize("name", KEYS)
def test_every_scheme_with_every_key(pair: Pair, name: str) -> None:
    """Codes agree; what one signs the other verifies; without randomness, bits agree."""
    handle = pair.load(KEYS[name])
    for scheme in SCHEMES.values():
        ours, theirs = pair.run(CC.SIGN, (handle,), sign(scheme=scheme), 1)
        if ours.rc:
            continue
        kind = int.from_bytes(ours.parameters[:2])
        assert ours.parameters[:4] == theirs.parameters[:4]
        if kind in DETERMINISTIC:
            assert ours.parameters == theirs.parameters
        for signature in (ours.parameters, theirs.parameters):
            ticket = pair.same(CC.VERIFY_SIGNATURE, (handle,), sized(DIGEST) + signature)
            assert ticket.parameters == words(ST.VERIFIED) + RH.NULL.to_bytes(4) + words(0)
            other = sized(DIGEST[:-1] + b"\0") + signature
            rc = pair.refuse(CC.VERIFY_SIGNATURE, (handle,), other)
            assert rc == RC.SIGNATURE | P2
            short = sized(DIGEST[:-1]) + signature
            assert pair.refuse(CC.VERIFY_SIGNATURE, (handle,), short) == RC.SIGNATURE | P2


@pytest.mark.parametrize(
    ("name", "scheme", "rc"),
    [
        ("rsa", NONE, RC.SCHEME | P2),
        ("rsa", ECDSA, RC.SCHEME | P2),
        ("rsa", HMAC, RC.SCHEME | P2),
        ("rsa", words(ALG.RSASSA, ALG.SHA512), RC.SIZE | P1),
        ("rsa", words(ALG.NULL + 1), RC.SCHEME | P2),
        ("rsa with rsassa", RSAPSS, RC.SCHEME | P2),
        ("rsa with rsassa", words(ALG.RSASSA, ALG.SHA1), RC.SCHEME | P2),
        ("rsa to decrypt", RSASSA, RC.KEY | H1),
        ("rsa for certificates", RSASSA, RC.ATTRIBUTES | H1),
        ("ecc", RSASSA, RC.SCHEME | P2),
        ("ecc", HMAC, RC.SCHEME | P2),
        ("ecc", ECDAA, RC.VALUE),
        ("ecc with ecdaa", NONE, RC.SCHEME | P2),
        ("hmac", NONE, RC.SCHEME | P2),
        ("hmac", RSASSA, RC.SCHEME | P2),
        ("hmac", ECDSA, RC.SCHEME | P2),
        ("hmac", ECDAA, RC.SCHEME | P2),
        ("data", HMAC, RC.KEY | H1),
        ("cipher", HMAC, RC.KEY | H1),
    ],
)
def test_schemes_that_do_not_suit_the_key(pair: Pair, name: str, scheme: bytes, rc: int) -> None:
    handle = pair.load(KEYS[name])
    assert hex(pair.refuse(CC.SIGN, (handle,), sign(scheme=scheme), 1)) == hex(rc)


@pytest.mark.parametrize("scheme", [RSASSA, RSAPSS])
@pytest.mark.parametrize("bits", [2048, 3072])
def test_rsa_signatures_verify_elsewhere(tester: Tester, scheme: bytes, bits: int) -> None:
    handle = loaded(tester, rsa_areas(SIGN, scheme, bits))
    answer = signed(tester, handle)
    assert answer.parameters[:4] == scheme
    hash_ = hashes.SHA256()
    used = padding.PKCS1v15() if scheme == RSASSA else padding.PSS(padding.MGF1(hash_), 32)
    signature = answer.parameters[6:]
    assert len(signature) == bits // 8
    rsa_key(bits).public_key().verify(signature, DIGEST, used, Prehashed(hash_))


@pytest.mark.parametrize("curve", [ECC_CURVE.NIST_P256, ECC_CURVE.NIST_P384, ECC_CURVE.NIST_P521])
def test_ecdsa_signatures_verify_elsewhere(tester: Tester, curve: int) -> None:
    handle = loaded(tester, ecc_areas(SIGN, ECDSA, curve))
    answer = signed(tester, handle)
    r, s = Result(0, None, answer.parameters[4:]).sized(), answer_s(answer)
    assert len(r) == len(s) == (ecc_key(curve).key_size + 7) // 8
    encoded = encode_dss_signature(int.from_bytes(r), int.from_bytes(s))
    algorithm = ec.ECDSA(Prehashed(hashes.SHA256()))
    ecc_key(curve).public_key().verify(encoded, DIGEST, algorithm)


def test_an_hmac_signature_is_the_hmac_of_the_digest(tester: Tester) -> None:
    handle = loaded(tester, hmac_areas(SIGN, HMAC))
    answer = signed(tester, handle)
    assert answer.parameters == HMAC + hmac.digest(HMAC_KEY, DIGEST, "sha256")


def answer_s(answer: Result) -> bytes:
    """The second number of an ECC signature."""
    return Result(0, None, answer.parameters[4:]).sized(1)


def loaded(tester: Tester, pair: tuple[bytes, bytes]) -> int:
    """The handle of an external object."""
    answer = areas.load_external(tester, *pair)
    assert answer.rc == 0, hex(answer.rc)
    assert answer.handle is not None
    return answer.handle


def signed(tester: Tester, handle: int, **options: bytes) -> Result:
    """TPM2_Sign, which has to succeed."""
    answer = tester.run(CC.SIGN, [handle], sign(**options), [Password()])
    assert answer.rc == 0, hex(answer.rc)
    return answer


@pytest.mark.parametrize(
    ("name", "signature", "rc"),
    [
        ("rsa", words(ALG.RSASSA, ALG.SHA256, 3) + b"abc", RC.SIGNATURE | P2),
        ("rsa", words(ALG.RSASSA, ALG.SHA256, 256) + b"\xff" * 256, RC.SIGNATURE | P2),
        ("rsa", words(ALG.RSAPSS, ALG.SHA256, 256) + bytes(256), RC.SIGNATURE | P2),
        ("rsa", words(ALG.ECDSA, ALG.SHA256, 1) + b"r" + words(1) + b"s", RC.SCHEME | P2),
        ("rsa", HMAC + DIGEST, RC.SCHEME | P2),
        ("rsa", words(ALG.NULL), RC.SCHEME | P2),
        ("rsa", words(ALG.RSASSA, ALG.NULL, 0), RC.HASH | P2),
        ("ecc", words(ALG.RSASSA, ALG.SHA256, 3) + b"abc", RC.SCHEME | P2),
        ("ecc", words(ALG.ECDSA, ALG.SHA256, 1) + b"\0" + words(1) + b"s", RC.SIGNATURE | P2),
        ("ecc", words(ALG.ECDSA, ALG.SHA256, 1) + b"r" + words(0), RC.SIGNATURE | P2),
        ("ecc", words(ALG.ECDSA, ALG.SHA256, 66) + b"r" * 66 + words(1) + b"s", RC.SIGNATURE | P2),
        ("ecc", words(ALG.ECSCHNORR, ALG.SHA256, 1) + b"r" + words(1) + b"s", RC.SIGNATURE | P2),
        ("ecc", words(ALG.ECDAA, ALG.SHA256, 1) + b"r" + words(1) + b"s", RC.SCHEME | P2),
        ("hmac", HMAC + DIGEST, RC.SIGNATURE | P2),
        ("hmac", words(ALG.ECDSA, ALG.SHA256, 1) + b"r" + words(1) + b"s", RC.SCHEME | P2),
        ("hmac with hmac", words(ALG.HMAC, ALG.SHA1) + bytes(20), RC.SIGNATURE | P2),
        ("rsa to decrypt", words(ALG.RSASSA, ALG.SHA256, 0), RC.ATTRIBUTES | H1),
        ("cipher", HMAC + DIGEST, RC.SCHEME | P2),
    ],
)
def test_signatures_that_are_none(pair: Pair, name: str, signature: bytes, rc: int) -> None:
    handle = pair.load(KEYS[name])
    params = sized(DIGEST) + signature
    assert hex(pair.refuse(CC.VERIFY_SIGNATURE, (handle,), params)) == hex(rc)


def test_a_weaker_hash_than_the_keys_is_refused(pair: Pair) -> None:
    """The HMAC is right, but the key vouches for SHA-256 only."""
    handle = pair.load(KEYS["hmac with hmac"])
    mac = hmac.digest(HMAC_KEY, DIGEST, "sha1")
    params = sized(DIGEST) + words(ALG.HMAC, ALG.SHA1) + mac
    assert pair.refuse(CC.VERIFY_SIGNATURE, (handle,), params) == RC.SIGNATURE | P2


def test_public_areas_verify_but_hmac_takes_the_key(pair: Pair) -> None:
    whole = pair.load(KEYS["rsa"])
    signature = pair.same(CC.SIGN, (whole,), sign(scheme=RSASSA), 1).parameters
    public = pair.load((KEYS["rsa"][0], b""))
    pair.same(CC.VERIFY_SIGNATURE, (public,), sized(DIGEST) + signature)
    assert pair.refuse(CC.SIGN, (public,), sign(scheme=RSASSA), 1) == RC.AUTH_UNAVAILABLE
    mac_key = pair.load((KEYS["hmac with hmac"][0], b""))
    params = sized(DIGEST) + HMAC + DIGEST
    assert pair.refuse(CC.VERIFY_SIGNATURE, (mac_key,), params) == RC.HANDLE | P2


def test_the_ticket_of_a_verification(pair: Pair) -> None:
    """One for a key in a hierarchy, the NULL Ticket for others and for keys without a Name."""
    owner = int(RH.OWNER)
    private = pair.load(KEYS["rsa"])
    signature = pair.same(CC.SIGN, (private,), sign(scheme=RSASSA), 1).parameters
    handle = pair.load((KEYS["rsa"][0], b""), owner)
    ticket = pair.same(CC.VERIFY_SIGNATURE, (handle,), sized(DIGEST) + signature)
    assert ticket.parameters[:8] == words(ST.VERIFIED) + owner.to_bytes(4) + words(64)
    nameless = KEYS["rsa"][0][:2] + NONE + KEYS["rsa"][0][4:]
    pair.flush(private)
    handle = pair.load((nameless, KEYS["rsa"][1]))
    ticket = pair.same(CC.VERIFY_SIGNATURE, (handle,), sized(DIGEST) + signature)
    assert ticket.parameters == words(ST.VERIFIED) + RH.NULL.to_bytes(4) + words(0)


GENERATED = b"\xffTCG"


@pytest.mark.parametrize("peer", ["engine", "swtpm"])
def test_a_restricted_key_signs_what_its_tpm_has_hashed(pair: Pair, peer: str) -> None:
    tester: Tester = getattr(pair, peer)
    template = areas.ecc(areas.OWN | SIGN | RESTRICTED | areas.NO_DA, scheme=ECDSA)
    key = areas.loaded_primary(tester, template)

    def attempt(message: bytes, hierarchy: int = RH.OWNER, alg: int = ALG.SHA256) -> int:
        params = sized(message) + words(alg) + hierarchy.to_bytes(4)
        answer = tester.run(CC.HASH, params=params)
        ticket = answer.parameters[2 + len(answer.sized()) :]
        params = sign(answer.sized(), ticket=ticket)
        return tester.run(CC.SIGN, [key], params, [Password()]).rc

    assert attempt(b"message") == 0
    assert attempt(b"abc") == 0
    assert attempt(b"message", RH.ENDORSEMENT) == 0
    assert attempt(b"message", RH.NULL) == RC.TICKET | P3
    assert attempt(GENERATED) == RC.TICKET | P3
    assert attempt(GENERATED + b" and more") == RC.TICKET | P3
    assert attempt(b"message", alg=ALG.SHA1) == RC.TICKET | P3
    for ticket in (
        NULL_TICKET,
        words(ST.HASHCHECK) + RH.OWNER.to_bytes(4) + words(0),
        words(ST.HASHCHECK) + RH.OWNER.to_bytes(4) + sized(bytes(64)),
    ):
        rc = tester.run(CC.SIGN, [key], sign(ticket=ticket), [Password()]).rc
        assert rc == RC.TICKET | P3
    assert tester.run(CC.SIGN, [key], sign(scheme=HMAC), [Password()]).rc == RC.SCHEME | P2


def test_a_ticket_that_is_given_is_checked(pair: Pair) -> None:
    handle = pair.load(KEYS["rsa"])
    ticket = words(ST.HASHCHECK) + RH.OWNER.to_bytes(4) + sized(b"forged")
    params = sign(scheme=RSASSA, ticket=ticket)
    assert pair.refuse(CC.SIGN, (handle,), params, 1) == RC.TICKET | P3
    params = sign(scheme=RSASSA, ticket=words(ST.CREATION) + ticket[2:])
    assert pair.refuse(CC.SIGN, (handle,), params, 1) == RC.TAG | P3


def test_a_point_off_the_curve_verifies_nothing(tester: Tester) -> None:
    """It can be loaded: without a nameAlg, nobody takes the public area for anything."""
    public = areas.ecc(
        areas.USER_AUTH | SIGN, alg=ALG.NULL, scheme=ECDSA, x=b"\1" * 32, y=bytes(32)
    )
    handle = loaded(tester, (public, areas.sensitive(ALG.ECC, b"\1" * 32)))
    params = sized(DIGEST) + words(ALG.ECDSA, ALG.SHA256, 1) + b"r" + words(1) + b"s"
    assert tester.run(CC.VERIFY_SIGNATURE, [handle], params).rc == RC.SIGNATURE | P2
