"""ECDSA against the library; EC Schnorr and ECDAA against their defining equations."""

import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from tests.oracles import affine
from tests.tpm.crypto import library
from tests.tpm.crypto.test_ecc import code, every_curve
from vtpmd.tpm.crypto import ecc, ecc_signatures
from vtpmd.tpm.crypto.ecc import CURVES, Curve, Point
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, ECC_CURVE

P256 = CURVES[ECC_CURVE.NIST_P256]


def key_pair(curve: Curve) -> tuple[int, Point]:
    d = ecc.private_key(curve, library.entropy)
    return d, ecc.public_point(curve, d)


@every_curve
@pytest.mark.parametrize("alg", library.HASHES)
def test_ecdsa(curve: Curve, alg: int) -> None:
    d, q = key_pair(curve)
    theirs = ec.derive_private_key(d, library.CURVES[curve.curve_id])
    hashed = library.digest(alg, b"message")
    scheme = ec.ECDSA(Prehashed(library.HASHES[alg]))
    r, s = ecc_signatures.sign_ecdsa(curve, d, hashed)
    theirs.public_key().verify(encode_dss_signature(r, s), hashed, scheme)
    r, s = decode_dss_signature(theirs.sign(hashed, scheme))
    assert ecc_signatures.verify_ecdsa(curve, q, hashed, r, s)
    for bad in ((r + 1, s), (r, s + 1), (s, r), (0, s), (r, 0), (curve.n, s), (r + curve.n, s)):
        assert not ecc_signatures.verify_ecdsa(curve, q, hashed, *bad)
    other = bytes([hashed[0] ^ 1]) + hashed[1:]
    assert not ecc_signatures.verify_ecdsa(curve, q, other, r, s)


@every_curve
@pytest.mark.parametrize("size", [0, 1, 31, 33, 40, 64])
def test_ecdsa_over_a_digest_of_any_size(curve: Curve, size: int) -> None:
    d, q = key_pair(curve)
    hashed = bytes(range(100, 100 + size))
    r, s = ecc_signatures.sign_ecdsa(curve, d, hashed)
    e = int.from_bytes(hashed, "big") >> max(0, 8 * size - curve.key_bits)
    inverse = pow(s, -1, curve.n)
    first = affine.multiply(curve.p, e * inverse % curve.n, curve.g)
    point = affine.add(curve.p, first, affine.multiply(curve.p, r * inverse % curve.n, q))
    assert point is not None
    assert point[0] % curve.n == r
    assert ecc_signatures.verify_ecdsa(curve, q, hashed, r, s)


@every_curve
@pytest.mark.parametrize("alg", [ALG.SHA1, ALG.SHA256, ALG.SHA512])
def test_ecschnorr(curve: Curve, alg: int) -> None:
    d, q = key_pair(curve)
    hashed = library.digest(alg, b"message")
    r, s = ecc_signatures.sign_ecschnorr(curve, d, alg, hashed, library.entropy)
    assert 0 < r < curve.n
    assert 0 < s < curve.n
    # [s]G = E + [r]Q, and r hashes E.
    back = affine.multiply(curve.p, curve.n - r, q)
    commitment = affine.add(curve.p, affine.multiply(curve.p, s, curve.g), back)
    assert commitment is not None
    name = library.HASHES[alg].name
    x = commitment[0].to_bytes((curve.key_bits + 7) // 8, "big")
    challenge = hashlib.new(name, x + hashed).digest()[: (curve.key_bits + 7) // 8]
    assert r == int.from_bytes(challenge, "big")
    verify = ecc_signatures.verify_ecschnorr
    assert verify(curve, q, alg, hashed, r, s)
    for bad in ((r + 1, s), (r, s + 1), (0, s), (r, 0), (r, s + curve.n), (r, curve.n)):
        assert not verify(curve, q, alg, hashed, *bad)
    assert not verify(curve, curve.g, alg, hashed, r, s)
    assert not verify(curve, q, alg, hashed + b"\0", r, s)


def test_ecschnorr_commitment_at_infinity_is_no_signature() -> None:
    # With d = 1, [s]G - [r]Q is the point at infinity for s = r.
    assert not ecc_signatures.verify_ecschnorr(P256, P256.g, ALG.SHA256, b"", 5, 5)


def first_then_random(first: bytes) -> Callable[[int], bytes]:
    given = [first]
    return lambda size: given.pop() if given else library.entropy(size)


@every_curve
def test_ecdaa(curve: Curve) -> None:
    d, _ = key_pair(curve)
    r = ecc.private_key(curve, library.entropy)
    for octets in (library.entropy, first_then_random(bytes(curve.size + 8))):
        k, s = ecc_signatures.sign_ecdaa(curve, d, r, ALG.SHA256, b"digest", octets)
        assert 0 < int.from_bytes(k, "big") < curve.n
        assert k[0] != 0
        t = int.from_bytes(hashlib.sha256(k + b"digest").digest(), "big")
        assert s == (r + t * d) % curve.n


def test_ecdaa_without_result() -> None:
    octets = bytes(P256.size + 8)
    t = int.from_bytes(hashlib.sha256(b"\x01" + b"digest").digest(), "big")
    r = -t * 7 % P256.n
    sign = ecc_signatures.sign_ecdaa
    assert code(sign, P256, 7, r, ALG.SHA256, b"digest", lambda size: octets) == RC.NO_RESULT


@every_curve
def test_commit_base(curve: Curve) -> None:
    """About every second s2 gives an x with a point on the curve."""
    found = 0
    for i in range(20):
        s2 = bytes([i])
        x = int.from_bytes(hashlib.sha256(s2).digest(), "big") % curve.p
        right = (x**3 - 3 * x + curve.b) % curve.p
        # Every p here is 3 modulo 4.
        y = pow(right, (curve.p + 1) // 4, curve.p)
        if y * y % curve.p == right:
            found += 1
        base = ecc_signatures.commit_base(curve, ALG.SHA256, s2, y)
        assert base == (x, y)
        assert curve.contains(base) == (y * y % curve.p == right)
    assert 2 < found < 18
