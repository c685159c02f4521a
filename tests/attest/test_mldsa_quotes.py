"""Quotes by ML-DSA and HashML-DSA keys, made by hand, and what is wrong with others."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import mldsa

from tests.attest import made
from tests.attest.made import NONCE, SHA256, SHA384, Machine, sized
from vtpmd.attest.errors import MalformedError
from vtpmd.attest.keys import MldsaPublicKey, parse_key
from vtpmd.attest.trust import AttestationKey
from vtpmd.attest.verdict import Status
from vtpmd.attest.verify import Demands, Evidence, verify_quote

MLDSA, HASH_MLDSA = 0xA1, 0xA2
OIDS = {
    SHA256: bytes.fromhex("0609608648016503040201"),
    SHA384: bytes.fromhex("0609608648016503040202"),
}
SEED = bytes(range(32))
SETS: dict[int, Callable[[bytes], mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey]] = {
    1: mldsa.MLDSA44PrivateKey.from_seed_bytes,
    2: mldsa.MLDSA65PrivateKey.from_seed_bytes,
}
GOOD = Machine()


def public(kind: int, parms: int, *, hash_alg: int = SHA256, attributes: int = made.AK) -> bytes:
    """A TPMT_PUBLIC, named by SHA-256."""
    head = struct.pack(">HHI", kind, SHA256, attributes) + sized(b"")
    details = struct.pack(">HB", parms, 0) if kind == MLDSA else struct.pack(">HH", parms, hash_alg)
    return head + details + sized(SETS[parms](SEED).public_key().public_bytes_raw())


def signature(
    kind: int, parms: int, message: bytes, *, hash_alg: int = SHA256, context: bytes = b""
) -> bytes:
    """A TPMT_SIGNATURE; that of HashML-DSA by FIPS 204, Algorithm 4, line for line."""
    private = SETS[parms](SEED)
    if kind == MLDSA:
        return struct.pack(">H", MLDSA) + sized(private.sign(message, context))
    hashed = OIDS[hash_alg] + hashlib.new(made.NAMES[hash_alg], message).digest()
    formatted = b"\1" + bytes((len(context),)) + context + hashed
    tr = hashlib.shake_256(private.public_key().public_bytes_raw()).digest(64)
    octets = private.sign_mu(hashlib.shake_256(tr + formatted).digest(64))
    return struct.pack(">HH", HASH_MLDSA, hash_alg) + sized(octets)


def judged(given: Evidence, area: bytes) -> Status:
    ak = AttestationKey.read(area).named(made.name(area))
    return verify_quote(given, ak, Demands(NONCE)).status


def evidence(kind: int, parms: int, *, hash_alg: int = SHA256) -> Evidence:
    """The PCRs' digest is by the nameAlg, SHA-256, or by the hash of HashML-DSA."""
    message = made.quote(GOOD.values, alg=SHA256 if kind == MLDSA else hash_alg)
    octets = signature(kind, parms, message, hash_alg=hash_alg)
    return Evidence(message, octets, GOOD.bare_values, GOOD.log)


every_key = pytest.mark.parametrize(
    ("kind", "parms", "hash_alg"),
    [(MLDSA, 1, SHA256), (MLDSA, 2, SHA256), (HASH_MLDSA, 1, SHA256), (HASH_MLDSA, 2, SHA384)],
)


@every_key
def test_a_genuine_quote(kind: int, parms: int, hash_alg: int) -> None:
    given = evidence(kind, parms, hash_alg=hash_alg)
    assert judged(given, public(kind, parms, hash_alg=hash_alg)) is Status.GENUINE


@every_key
def test_other_messages_and_signatures(kind: int, parms: int, hash_alg: int) -> None:
    given, area = evidence(kind, parms, hash_alg=hash_alg), public(kind, parms, hash_alg=hash_alg)
    for place in (0, 40, len(given.message) - 1):
        octets = bytearray(given.message)
        octets[place] ^= 1
        assert judged(replace(given, message=bytes(octets)), area) is Status.SIGNATURE
    for place in (10, len(given.signature) - 1):
        octets = bytearray(given.signature)
        octets[place] ^= 1
        assert judged(replace(given, signature=bytes(octets)), area) is Status.SIGNATURE
    for wrong in (given.signature[:-1], given.signature + b"\0", b"", given.signature[:2]):
        assert judged(replace(given, signature=wrong), area) is Status.MALFORMED
    shorter = given.signature[: -len(given.signature) // 2]
    resized = shorter[: 2 if kind == MLDSA else 4]
    resized += sized(shorter[len(resized) + 2 :])
    assert judged(replace(given, signature=resized), area) is Status.MALFORMED


@every_key
def test_a_context_is_no_part_of_a_quote(kind: int, parms: int, hash_alg: int) -> None:
    given, area = evidence(kind, parms, hash_alg=hash_alg), public(kind, parms, hash_alg=hash_alg)
    octets = signature(kind, parms, given.message, hash_alg=hash_alg, context=b"context")
    assert judged(replace(given, signature=octets), area) is Status.SIGNATURE


def test_kinds_and_hashes_are_not_mixed_up() -> None:
    pure, hashed = evidence(MLDSA, 1), evidence(HASH_MLDSA, 1)
    assert judged(pure, public(HASH_MLDSA, 1)) is Status.SIGNATURE
    assert judged(hashed, public(MLDSA, 1)) is Status.SIGNATURE
    assert judged(hashed, public(HASH_MLDSA, 1, hash_alg=SHA384)) is Status.SIGNATURE
    relabelled = struct.pack(">HH", HASH_MLDSA, SHA384) + hashed.signature[4:]
    mislabelled = replace(hashed, signature=relabelled)
    assert judged(mislabelled, public(HASH_MLDSA, 1)) is Status.SIGNATURE
    classic = Machine(kind="p256")
    message, octets = classic.quote(NONCE)
    given = Evidence(message, octets, classic.bare_values, classic.log)
    assert judged(given, public(MLDSA, 1)) is Status.SIGNATURE
    assert judged(pure, classic.public) is Status.SIGNATURE


def test_a_key_that_could_sign_quotes_made_by_hand() -> None:
    unrestricted = public(MLDSA, 1, attributes=made.AK & ~made.RESTRICTED)
    assert judged(evidence(MLDSA, 1), unrestricted) is not Status.GENUINE


def test_keys_of_another_size() -> None:
    area = public(MLDSA, 1)
    for wrong in (area[:-1314] + sized(area[-1312:-1]), area[:-1314] + sized(area[-1312:] + b"\0")):
        with pytest.raises(MalformedError):
            parse_key(wrong)
    key = parse_key(area).key
    assert isinstance(key, MldsaPublicKey)
    assert key.octets == area[-1312:]
