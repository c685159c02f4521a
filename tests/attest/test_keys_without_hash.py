"""Quotes by keys whose signatures name no hash: of EdDSA, and of ML-DSA that a CA vouches for."""

import hashlib
import struct
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519, mldsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.attest import authority, made
from tests.attest.authority import AK_PURPOSE, EK_PURPOSE, NOW
from tests.attest.made import NONCE, SHA256, SHA384, Machine, sized
from tests.oracles import edwards
from vtpmd.attest.activation import new_challenge
from vtpmd.attest.errors import CertificateError, MalformedError
from vtpmd.attest.keys import EddsaPublicKey, parse_key
from vtpmd.attest.trust import AttestationKey
from vtpmd.attest.verdict import Status
from vtpmd.attest.verify import Demands, Evidence, verify_quote

EDDSA, HASH_EDDSA, C25519, C448 = 0x60, 0x61, 0x40, 0x41
PRIVATE: dict[int, Any] = {
    C25519: ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
    C448: ed448.Ed448PrivateKey.from_private_bytes(bytes(range(57))),
}
GOOD, ROOT = Machine(), authority.root()
every_curve = pytest.mark.parametrize("curve", PRIVATE, ids=["Ed25519", "Ed448"])


def public(curve: int, scheme: int = EDDSA, *, name_alg: int = SHA256, y: bytes = b"") -> bytes:
    """A TPMT_PUBLIC."""
    octets = PRIVATE[curve].public_key().public_bytes_raw()
    head = struct.pack(">HHI", 0x23, name_alg, made.AK) + sized(b"")
    return head + struct.pack(">HHHH", 0x10, scheme, curve, 0x10) + sized(octets) + sized(y)


def evidence(curve: int, *, alg: int = SHA256) -> Evidence:
    message = made.quote(GOOD.values, alg=alg)
    signature = struct.pack(">H", EDDSA) + sized(PRIVATE[curve].sign(message))
    return Evidence(message, signature, GOOD.bare_values)


def judged(given: Evidence, area: bytes) -> Status:
    alg = int.from_bytes(area[2:4])
    name = area[2:4] + hashlib.new(made.NAMES[alg], area).digest()
    return verify_quote(given, AttestationKey.read(area).named(name), Demands(NONCE)).status


@every_curve
@pytest.mark.parametrize("alg", [SHA256, SHA384])
def test_a_genuine_quote(curve: int, alg: int) -> None:
    """The digest over PCRs is by nameAlg."""
    given = evidence(curve, alg=alg)
    assert judged(given, public(curve, name_alg=alg)) is Status.GENUINE
    other = SHA384 if alg == SHA256 else SHA256
    assert judged(given, public(curve, name_alg=other)) is Status.PCR_DIGEST


@every_curve
def test_a_genuine_quote_by_a_key_that_hashes_before(curve: int) -> None:
    oracle, size = (edwards.ED25519, 32) if curve == C25519 else (edwards.ED448, 57)
    message = made.quote(GOOD.values)
    if curve == C25519:
        digest = hashlib.sha512(message).digest()
    else:
        digest = hashlib.shake_256(message).digest(64)
    octets = edwards.sign_hashed(oracle, bytes(range(size)), digest)
    signature = struct.pack(">H", HASH_EDDSA) + sized(octets)
    given = Evidence(message, signature, GOOD.bare_values)
    assert judged(given, public(curve, HASH_EDDSA)) is Status.GENUINE
    assert judged(given, public(curve)) is Status.SIGNATURE


@every_curve
def test_other_messages_and_signatures(curve: int) -> None:
    given, area = evidence(curve), public(curve)
    for at in (0, 2, 4, 40, -1):
        octets = bytearray(given.signature)
        octets[at] ^= 1
        assert judged(replace(given, signature=bytes(octets)), area) in (
            Status.SIGNATURE,
            Status.MALFORMED,
        )
    changed = given.message[:-1] + bytes((given.message[-1] ^ 1,))
    assert judged(replace(given, message=changed), area) is Status.SIGNATURE
    hashed = struct.pack(">H", HASH_EDDSA) + given.signature[2:]
    assert judged(replace(given, signature=hashed), area) is Status.SIGNATURE
    assert judged(replace(given, signature=hashed), public(curve, HASH_EDDSA)) is Status.SIGNATURE
    assert judged(given, public(curve, HASH_EDDSA)) is Status.SIGNATURE


def test_keys_that_are_none_of_eddsa() -> None:
    for wrong in (public(C25519, 0x10), public(C25519, y=b"\1")):
        with pytest.raises(MalformedError):
            parse_key(wrong)
    area = public(C25519)
    with pytest.raises(MalformedError):
        parse_key(area[:-36] + sized(b"\xff" * 32) + sized(b""))


@every_curve
def test_pem(curve: int) -> None:
    key = PRIVATE[curve].public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    found = parse_key(pem).key
    assert isinstance(found, EddsaPublicKey)
    assert (found.scheme, found.curve_id, found.octets) == (EDDSA, curve, key.public_bytes_raw())
    given = evidence(curve)
    verdict = verify_quote(given, AttestationKey.read(pem), Demands(NONCE))
    assert verdict.status is Status.AK_NOT_PROVEN, "nothing says whose key it is"


CERTIFIED: dict[str, tuple[int, Any]] = {
    "Ed25519": (EDDSA, PRIVATE[C25519]),
    "Ed448": (EDDSA, PRIVATE[C448]),
    "ML-DSA-44": (0xA1, mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(32))),
    "ML-DSA-65": (0xA1, mldsa.MLDSA65PrivateKey.from_seed_bytes(bytes(32))),
    "ML-DSA-87": (0xA1, mldsa.MLDSA87PrivateKey.from_seed_bytes(bytes(32))),
}
"""Schemes and keys of which a certificate may be."""


@pytest.mark.parametrize("kind", CERTIFIED)
@pytest.mark.parametrize("alg", [SHA256, SHA384])
def test_an_ak_that_a_ca_vouches_for(kind: str, alg: int) -> None:
    """A certificate does not say the nameAlg: it is told from the digest's size."""
    scheme, private = CERTIFIED[kind]
    message = made.quote(GOOD.values, alg=alg)
    signature = struct.pack(">H", scheme) + sized(private.sign(message))
    certificate = authority.leaf(ROOT, private.public_key(), AK_PURPOSE)
    ak = AttestationKey.read(certificate, ROOT.pem)
    given = Evidence(message, signature, GOOD.bare_values)
    assert verify_quote(given, ak, Demands(NONCE, now=NOW)).status is Status.GENUINE
    nothing = replace(given, pcrs=None)
    assert verify_quote(nothing, ak, Demands(NONCE, now=NOW)).status is Status.PCR_DIGEST


def test_such_a_key_is_no_ek() -> None:
    _, private = CERTIFIED["ML-DSA-44"]
    certificate = authority.leaf(ROOT, private.public_key(), EK_PURPOSE)
    with pytest.raises(CertificateError, match="only signs"):
        new_challenge(certificate, ROOT.pem, GOOD.public, now=NOW)
