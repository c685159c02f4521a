"""DHKEM, key encapsulation by Diffie-Hellman (RFC 9180, 4.1; Part 1, 44.4)."""

from ..rc import RC, TpmError
from ..wire.constants import ALG, ECC_CURVE
from . import montgomery
from .ecc import Curve, Octets, Point, multiply, private_key, public_point
from .hashes import digest_size, hmac

_KEMS: dict[tuple[int, int], int] = {
    (ECC_CURVE.NIST_P256, ALG.SHA256): 0x0010,
    (ECC_CURVE.NIST_P384, ALG.SHA384): 0x0011,
    (ECC_CURVE.NIST_P521, ALG.SHA512): 0x0012,
    (ECC_CURVE.CURVE_25519, ALG.SHA256): 0x0020,
    (ECC_CURVE.CURVE_448, ALG.SHA512): 0x0021,
}
"""kem_id (7.1) by curve and hash of HKDF."""
_VERSION = b"HPKE-v1"
_UNCOMPRESSED = b"\x04"


def is_supported(curve_id: int, hash_alg: int) -> bool:
    """Whether RFC 9180 defines a DHKEM of this curve with HKDF of this hash."""
    return (curve_id, hash_alg) in _KEMS


def encapsulate(
    curve: Curve, hash_alg: int, recipient: Point, octets: Octets
) -> tuple[bytes, bytes]:
    """(shared secret, ciphertext). TPM_RC_ECC_POINT if `recipient` is not on the curve."""
    d = private_key(curve, octets)
    shared = multiply(curve, d, recipient)
    ciphertext = _serialized(curve, public_point(curve, d))
    context = ciphertext + _serialized(curve, recipient)
    return _secret(curve.curve_id, hash_alg, curve.octets(shared.x), context), ciphertext


def decapsulate(curve: Curve, hash_alg: int, d: int, recipient: Point, ciphertext: bytes) -> bytes:
    """The shared secret for the holder of `d`, whose public point is `recipient`.

    Raises TPM_RC_SIZE for a ciphertext of the wrong size, TPM_RC_ECC_POINT for one that is no
    uncompressed point of the curve.
    """
    if len(ciphertext) != 1 + 2 * curve.size:
        raise TpmError(RC.SIZE)
    if ciphertext[:1] != _UNCOMPRESSED:
        raise TpmError(RC.ECC_POINT)
    x, y = ciphertext[1 : 1 + curve.size], ciphertext[1 + curve.size :]
    ephemeral = Point(int.from_bytes(x), int.from_bytes(y))
    shared = multiply(curve, d, ephemeral)
    context = ciphertext + _serialized(curve, recipient)
    return _secret(curve.curve_id, hash_alg, curve.octets(shared.x), context)


def encapsulate_in_octets(
    curve: montgomery.MontgomeryCurve, hash_alg: int, recipient: bytes, octets: Octets
) -> tuple[bytes, bytes]:
    """The same on Curve25519 and Curve448. Raises as `montgomery.exchange`."""
    private = montgomery.private_key(curve, octets)
    shared = montgomery.exchange(curve, private, recipient)
    ciphertext = montgomery.public_key(curve, private)
    return _secret(curve.curve_id, hash_alg, shared, ciphertext + recipient), ciphertext


def decapsulate_in_octets(
    curve: montgomery.MontgomeryCurve,
    hash_alg: int,
    private: bytes,
    recipient: bytes,
    ciphertext: bytes,
) -> bytes:
    """The same. Raises TPM_RC_SIZE for a ciphertext of the wrong size, TPM_RC_NO_RESULT."""
    if len(ciphertext) != curve.size:
        raise TpmError(RC.SIZE)
    shared = montgomery.exchange(curve, private, ciphertext)
    return _secret(curve.curve_id, hash_alg, shared, ciphertext + recipient)


def _serialized(curve: Curve, point: Point) -> bytes:
    """SerializePublicKey (7.1.1)."""
    return _UNCOMPRESSED + curve.octets(point.x) + curve.octets(point.y)


def _secret(curve_id: int, hash_alg: int, shared: bytes, context: bytes) -> bytes:
    """ExtractAndExpand (4.1); the secret is as long as a digest, so one block is expanded."""
    suite = b"KEM" + _KEMS[curve_id, hash_alg].to_bytes(2)
    extracted = _VERSION + suite + b"eae_prk" + shared
    expanded = digest_size(hash_alg).to_bytes(2) + _VERSION + suite + b"shared_secret" + context
    return hmac(hash_alg, hmac(hash_alg, b"", extracted), expanded, b"\1")
