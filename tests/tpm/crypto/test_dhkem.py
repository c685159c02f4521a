"""DHKEM against the test vectors of RFC 9180, appendix A, and OpenSSL's HPKE."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.tpm.crypto import library
from vtpmd.tpm.crypto import dhkem, montgomery
from vtpmd.tpm.crypto.ecc import CURVES, Point
from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.wire.constants import ALG, ECC_CURVE

KEMS = {
    (ECC_CURVE.NIST_P256, ALG.SHA256): (0x10, "sha256"),
    (ECC_CURVE.NIST_P384, ALG.SHA384): (0x11, "sha384"),
    (ECC_CURVE.NIST_P521, ALG.SHA512): (0x12, "sha512"),
}
"""kem_id and hash, from RFC 9180, table 2."""
every_kem = pytest.mark.parametrize(
    ("curve_id", "hash_alg"), KEMS, ids=[ECC_CURVE(curve).name for curve, _ in KEMS]
)


def shared_secret(kem: int, name: str, dh: bytes, context: bytes) -> bytes:
    """ExtractAndExpand of RFC 9180, 4 and 4.1, by HKDF of RFC 5869."""
    suite, size = b"HPKE-v1KEM" + kem.to_bytes(2), hashlib.new(name).digest_size
    extracted = hmac.digest(bytes(size), suite + b"eae_prk" + dh, name)
    info = size.to_bytes(2) + suite + b"shared_secret" + context
    return hmac.digest(extracted, info + b"\1", name)


def test_the_oracle_knows_the_rfc() -> None:
    """A.3.1: DHKEM(P-256, HKDF-SHA256), base mode."""
    private = ec.derive_private_key(
        0xF3CE7FDAE57E1A310D87F1EBBDE6F328BE0A99CDBCADF4D6589CF29DE4B8FFD2, ec.SECP256R1()
    )
    enc = bytes.fromhex(
        "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac9"
        "8536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4"
    )
    ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), enc)
    numbers = private.public_key().public_numbers()
    recipient = b"\4" + numbers.x.to_bytes(32) + numbers.y.to_bytes(32)
    expected = bytes.fromhex("c0d26aeab536609a572b07695d933b589dcf363ff9d93c93adea537aeabb8cb8")
    dh = private.exchange(ec.ECDH(), ephemeral)
    assert shared_secret(0x10, "sha256", dh, enc + recipient) == expected
    curve, d = CURVES[ECC_CURVE.NIST_P256], private.private_numbers().private_value
    point = Point(numbers.x, numbers.y)
    assert dhkem.decapsulate(curve, ALG.SHA256, d, point, enc) == expected


@every_kem
def test_encapsulate_and_decapsulate(curve_id: int, hash_alg: int) -> None:
    kem, name = KEMS[ECC_CURVE(curve_id), ALG(hash_alg)]
    curve, of_library = CURVES[curve_id], library.CURVES[curve_id]
    private = ec.generate_private_key(of_library)
    numbers = private.private_numbers()
    x, y = numbers.public_numbers.x, numbers.public_numbers.y
    draws: list[int] = []

    def octets(size: int) -> bytes:
        draws.append(size)
        return hashlib.shake_256(b"octets").digest(size)

    secret, ciphertext = dhkem.encapsulate(curve, hash_alg, Point(x, y), octets)
    assert draws == [curve.size + 8], "by extra random bits (Part 1, 44.6)"
    ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(of_library, ciphertext)
    serialized = b"\4" + x.to_bytes(curve.size) + y.to_bytes(curve.size)
    dh = private.exchange(ec.ECDH(), ephemeral)
    assert secret == shared_secret(kem, name, dh, ciphertext + serialized)
    found = dhkem.decapsulate(curve, hash_alg, numbers.private_value, Point(x, y), ciphertext)
    assert found == secret


@every_kem
def test_ciphertexts_that_are_no_points(curve_id: int, hash_alg: int) -> None:
    curve = CURVES[curve_id]
    good = b"\4" + curve.octets(curve.g.x) + curve.octets(curve.g.y)
    assert dhkem.decapsulate(curve, hash_alg, 2, curve.g, good)
    cases = {
        b"": RC.SIZE,
        good[:-1]: RC.SIZE,
        good + b"\0": RC.SIZE,
        b"\2" + good[1:]: RC.ECC_POINT,
        good[:-1] + bytes((good[-1] ^ 1,)): RC.ECC_POINT,
        b"\4" + bytes(2 * curve.size): RC.ECC_POINT,
    }
    for wrong, code in cases.items():
        with pytest.raises(TpmError) as refused:
            dhkem.decapsulate(curve, hash_alg, 2, curve.g, wrong)
        assert refused.value.code == code


def test_only_what_the_rfc_defines_is_supported() -> None:
    supported = {
        (curve, alg)
        for curve in CURVES
        for alg in (ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512, ALG.NULL)
        if dhkem.is_supported(curve, alg)
    }
    assert supported == set(KEMS)


def test_x25519_is_that_of_the_rfc() -> None:
    """A.1.1: DHKEM(X25519, HKDF-SHA256), base mode."""
    ephemeral, recipient = map(
        bytes.fromhex,
        (
            "52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736",
            "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
        ),
    )
    curve = montgomery.CURVES[ECC_CURVE.CURVE_25519]
    public = montgomery.public_key(curve, recipient)
    made = dhkem.encapsulate_in_octets(curve, ALG.SHA256, public, lambda size: ephemeral[:size])
    assert [octets.hex() for octets in made] == [
        "fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc",
        "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
    ]
    found = dhkem.decapsulate_in_octets(curve, ALG.SHA256, recipient, public, made[1])
    assert found == made[0]
