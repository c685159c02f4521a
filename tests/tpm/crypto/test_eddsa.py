"""EdDSA against the vectors of RFC 8032, OpenSSL, and textbook arithmetic."""

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import edwards as oracle
from vtpmd.tpm.crypto import eddsa, edwards
from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.wire.constants import ECC_CURVE

ED25519, ED448 = int(ECC_CURVE.CURVE_25519), int(ECC_CURVE.CURVE_448)
ORACLES = {ED25519: oracle.ED25519, ED448: oracle.ED448}
LIBRARY: dict[int, type[Ed25519PublicKey | Ed448PublicKey]] = {
    ED25519: Ed25519PublicKey,
    ED448: Ed448PublicKey,
}
PURE = {
    "7.1 TEST 1": (
        ED25519,
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
        "b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "7.1 TEST 2": (
        ED25519,
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
        "1d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "7.4 Blank": (
        ED448,
        "6c82a562cb808d10d632be89c8513ebf6c929f34ddfa8c9f63c9960ef6e348a3528c8a3fcc2f044e39a3fc5b9449"
        "2f8f032e7549a20098f95b",
        "5fd7449b59b461fd2ce787ec616ad46a1da1342485a70e1f8a0ea75d80e96778edf124769b46c7061bd6783df1e5"
        "0f6cd1fa1abeafe8256180",
        "",
        "533a37f6bbe457251f023c0d88f976ae2dfb504a843e34d2074fd823d41a591f2b233f034f628281f2fd7a22ddd4"
        "7d7828c59bd0a21bfd3980ff0d2028d4b18a9df63e006c5d1c2d345b925d8dc00b4104852db99ac5c7cdda8530a1"
        "13a0f4dbb61149f05a7363268c71d95808ff2e652600",
    ),
}
HASHED = {
    "7.3 TEST abc": (
        ED25519,
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062ad"
        "f5aaa10b8c61e636062aaad11c2a26083406",
    ),
    "7.5 TEST abc": (
        ED448,
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42ef7822e0d5104127dc05d6dbefde"
        "69e3ab2cec7c867c6e2c49",
        "822f6901f7480f3d5f562c592994d9693602875614483256505600bbc281ae381f54d6bce2ea911574932f52a4e6"
        "cadd78769375ec3ffd1b801a0d9b3f4030cd433964b6457ea39476511214f97469b57dd32dbc560a9a94d00bff07"
        "620464a3ad203df7dc7ce360c3cd3696d9d9fab90f00",
    ),
}
every_curve = pytest.mark.parametrize("curve_id", ORACLES, ids=["Ed25519", "Ed448"])


def prehashed(curve_id: int, message: bytes) -> bytes:
    if curve_id == ED25519:
        return hashlib.sha512(message).digest()
    return hashlib.shake_256(message).digest(64)


def challenge(curve_id: int, signature: bytes, public: bytes, message: bytes) -> bytes:
    running = eddsa.running_challenge(curve_id, eddsa.nonce(curve_id, signature), public)
    running.update(message)
    return running.digest()


def verifies(curve_id: int, public: bytes, signature: bytes, message: bytes) -> bool:
    found = challenge(curve_id, signature, public, message)
    return eddsa.verify(curve_id, public, signature, found)


def verifies_digest(curve_id: int, public: bytes, signature: bytes, digest: bytes) -> bool:
    nonce = eddsa.nonce(curve_id, signature)
    found = eddsa.challenge_of_digest(curve_id, nonce, public, digest)
    return eddsa.verify(curve_id, public, signature, found)


def accepted(curve_id: int, public: bytes, signature: bytes, message: bytes) -> bool:
    """What OpenSSL says."""
    try:
        LIBRARY[curve_id].from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("vector", PURE.values(), ids=PURE.keys())
def test_vectors(vector: tuple[int, str, str, str, str]) -> None:
    curve_id = vector[0]
    private, public, message, signature = map(bytes.fromhex, vector[1:])
    assert eddsa.public_key(curve_id, private) == public
    assert eddsa.sign(curve_id, private, message) == signature
    assert verifies(curve_id, public, signature, message)
    assert not verifies(curve_id, public, signature, message + b"\0")


@pytest.mark.parametrize("vector", HASHED.values(), ids=HASHED.keys())
def test_vectors_of_the_hashed_variants(vector: tuple[int, str, str]) -> None:
    curve_id = vector[0]
    private, signature = map(bytes.fromhex, vector[1:])
    digest, public = prehashed(curve_id, b"abc"), eddsa.public_key(curve_id, private)
    running = eddsa.running_digest(curve_id)
    running.update(b"abc")
    assert running.digest() == digest
    assert eddsa.sign_digest(curve_id, private, digest) == signature
    assert verifies_digest(curve_id, public, signature, digest)
    assert not verifies(curve_id, public, signature, digest), "another domain"
    assert oracle.accepts_hashed(ORACLES[curve_id], public, signature, digest)


@every_curve
@settings(max_examples=3)
@given(st.data())
def test_signatures_of_digests(curve_id: int, data: st.DataObject) -> None:
    """By an arithmetic that never sees the secret, and by a textbook."""
    size = ORACLES[curve_id].size
    private = data.draw(st.binary(min_size=size, max_size=size))
    digest = data.draw(st.binary(min_size=64, max_size=64))
    public = eddsa.public_key(curve_id, private)
    signature = eddsa.sign_digest(curve_id, private, digest)
    assert oracle.accepts_hashed(ORACLES[curve_id], public, signature, digest)
    assert verifies_digest(curve_id, public, signature, digest)


@every_curve
@settings(max_examples=20)
@given(st.data())
def test_what_is_accepted_is_what_openssl_accepts(curve_id: int, data: st.DataObject) -> None:
    size = ORACLES[curve_id].size
    private = data.draw(st.binary(min_size=size, max_size=size))
    message = data.draw(st.binary(max_size=300))
    public = eddsa.public_key(curve_id, private)
    signature = bytearray(eddsa.sign(curve_id, private, message))
    assert verifies(curve_id, public, bytes(signature), message)
    signature[data.draw(st.integers(0, 2 * size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = bytes(signature)
    assert not accepted(curve_id, public, changed, message)
    assert not verifies(curve_id, public, changed, message)


@every_curve
def test_a_scalar_beyond_the_order(curve_id: int) -> None:
    """[S + n]B is the same point, and no signature (5.1.7 and 5.2.7)."""
    curve = ORACLES[curve_id]
    private = bytes(range(curve.size))
    public, signature = eddsa.public_key(curve_id, private), eddsa.sign(curve_id, private, b"m")
    s = int.from_bytes(signature[curve.size :], "little") + curve.n
    other = signature[: curve.size] + s.to_bytes(curve.size, "little")
    assert not verifies(curve_id, public, other, b"m")
    assert not accepted(curve_id, public, other, b"m")
    for wrong in (b"", signature[:-1], signature + b"\0"):
        assert not verifies(curve_id, public, wrong, b"m")


@every_curve
@pytest.mark.parametrize("scalar", [1, 3, 1 << 200, -2])
def test_multiples_of_the_base_point(curve_id: int, scalar: int) -> None:
    curve = ORACLES[curve_id]
    found = edwards.base_multiple(edwards.CURVES[curve_id], scalar % curve.n)
    assert found == oracle.encoded(curve, oracle.multiply(curve, scalar % curve.n, curve.base))


@every_curve
def test_multiples_that_x25519_and_x448_have_no_equal_of(curve_id: int) -> None:
    """Small multiples of the cofactor, and their neighbours."""
    with pytest.raises(TpmError) as caught:
        edwards.base_multiple(edwards.CURVES[curve_id], 8)
    assert caught.value.code == RC.NO_RESULT


@every_curve
def test_combinations_of_points(curve_id: int) -> None:
    curve, ours = ORACLES[curve_id], edwards.CURVES[curve_id]
    point = oracle.multiply(curve, 12345, curve.base)
    for s, k in ((0, 0), (1, 0), (0, 1), (3, curve.n - 1), (2, 63)):
        found = edwards.combination(ours, s, k, ours.point(*point))
        left = oracle.multiply(curve, s, curve.base)
        expected = oracle.add(curve, left, oracle.multiply(curve, k, point))
        assert edwards.encode(ours, found) == oracle.encoded(curve, expected)


@every_curve
def test_octets_that_are_no_points(curve_id: int) -> None:
    curve = ORACLES[curve_id]
    neutral = (1).to_bytes(curve.size, "little")
    sign = 1 << 8 * curve.size - 1
    assert eddsa.is_public_key(curve_id, neutral)
    assert eddsa.is_public_key(curve_id, oracle.encoded(curve, curve.base))
    off_curve = next(
        y
        for y in range(2, 99)
        if not eddsa.is_public_key(curve_id, y.to_bytes(curve.size, "little"))
    )
    with pytest.raises(ValueError, match="no point"):
        oracle.decoded(curve, off_curve.to_bytes(curve.size, "little"))
    for octets in (
        b"",
        neutral[:-1],
        neutral + b"\0",
        (curve.p + 1).to_bytes(curve.size, "little"),
        (1 | sign).to_bytes(curve.size, "little"),
        off_curve.to_bytes(curve.size, "little"),
    ):
        assert not eddsa.is_public_key(curve_id, octets)
        assert not eddsa.verify(curve_id, octets, bytes(2 * curve.size), bytes(64))
        with pytest.raises(TpmError) as caught:
            edwards.decode(edwards.CURVES[curve_id], octets)
        assert caught.value.code == RC.ECC_POINT
