"""The keys in objects, in the form that `crypto` works with."""

from ..crypto import mldsa, mlkem, montgomery
from ..crypto.ecc import CURVES, Curve, Point
from ..crypto.rsa import DEFAULT_EXPONENT, RsaKey, RsaPublicKey
from ..rc import RC, TpmError
from ..state import LoadedObject
from ..wire.algorithms import TPMS_ECC_POINT, TPMS_SYMCIPHER_PARMS, TPMT_SYM_DEF_OBJECT
from ..wire.objects import (
    TPMS_ECC_PARMS,
    TPMS_HASH_MLDSA_PARMS,
    TPMS_MLDSA_PARMS,
    TPMS_MLKEM_PARMS,
    TPMS_RSA_PARMS,
    TPMT_PUBLIC,
)


def rsa_exponent(public: TPMT_PUBLIC) -> int:
    """The public exponent, with the default in place of zero."""
    assert isinstance(public.parameters, TPMS_RSA_PARMS)
    return public.parameters.exponent or DEFAULT_EXPONENT


def rsa_public(public: TPMT_PUBLIC) -> RsaPublicKey:
    """The public part of an RSA key."""
    assert isinstance(public.unique, bytes)
    return RsaPublicKey(int.from_bytes(public.unique), rsa_exponent(public))


def rsa_private(key: LoadedObject) -> RsaKey:
    """An RSA key whose sensitive area is loaded. RC.BINDING if prime and modulus don't match."""
    if key.rsa_key is None:
        assert key.sensitive is not None
        public = rsa_public(key.public)
        prime = int.from_bytes(key.sensitive.sensitive)
        key.rsa_key = RsaKey.from_prime(public.n, public.e, prime)
    return key.rsa_key


def is_in_octets(public: TPMT_PUBLIC) -> bool:
    """Whether an ECC key is on Curve25519 or Curve448, whose keys and points are octets (44.5).

    The functions about other ECC keys are not for these.
    """
    assert isinstance(public.parameters, TPMS_ECC_PARMS)
    return public.parameters.curve_id in montgomery.CURVES


def curve_id(public: TPMT_PUBLIC) -> int:
    """TPM_ECC_CURVE of an ECC key."""
    assert isinstance(public.parameters, TPMS_ECC_PARMS)
    return public.parameters.curve_id


def montgomery_curve(public: TPMT_PUBLIC) -> montgomery.MontgomeryCurve:
    """The curve of such a key that exchanges keys."""
    return montgomery.CURVES[curve_id(public)]


def octets_point(octets: bytes) -> TPMS_ECC_POINT:
    """Such a point: the only coordinate of X25519 and X448, an encoded point of EdDSA (44.5.1)."""
    return TPMS_ECC_POINT(octets, b"")


def public_octets(public: TPMT_PUBLIC) -> bytes:
    """The public key of such a key, valid or not."""
    assert isinstance(public.unique, TPMS_ECC_POINT)
    return public.unique.x


def private_octets(key: LoadedObject) -> bytes:
    """The private key of such a key whose sensitive area is loaded."""
    assert key.sensitive is not None
    return key.sensitive.sensitive


def octets_of(coordinates: TPMS_ECC_POINT) -> bytes:
    """Such a point that a caller gave. RC.ECC_POINT for one that has a second coordinate."""
    if coordinates.y:
        raise TpmError(RC.ECC_POINT)
    return coordinates.x


def ecc_curve(public: TPMT_PUBLIC) -> Curve:
    """The curve of an ECC key."""
    assert isinstance(public.parameters, TPMS_ECC_PARMS)
    return CURVES[public.parameters.curve_id]


def ecc_public(public: TPMT_PUBLIC) -> Point:
    """The public point of an ECC key, on the curve or not."""
    assert isinstance(public.unique, TPMS_ECC_POINT)
    return point(public.unique)


def ecc_private(key: LoadedObject) -> int:
    """The private key of an ECC key whose sensitive area is loaded."""
    assert key.sensitive is not None
    return int.from_bytes(key.sensitive.sensitive)


def point(coordinates: TPMS_ECC_POINT) -> Point:
    """A point from its coordinates on the wire."""
    return Point(int.from_bytes(coordinates.x), int.from_bytes(coordinates.y))


def point_on(curve: Curve, coordinates: TPMS_ECC_POINT, at: str) -> Point:
    """A point that a caller gave. RC.ECC_POINT at `at` if it is not on the curve."""
    found = point(coordinates)
    if not curve.contains(found):
        raise TpmError(RC.ECC_POINT, at=at)
    return found


def coordinates(curve: Curve, point: Point | None) -> TPMS_ECC_POINT:
    """A point as it leaves the TPM: padded to the size of the curve (Part 1, 44.5.3).

    None stands for the point at infinity, which is the Empty Point (44.5.1).
    """
    if point is None:
        return TPMS_ECC_POINT(b"", b"")
    return TPMS_ECC_POINT(curve.octets(point.x), curve.octets(point.y))


def mlkem_parms(public: TPMT_PUBLIC) -> int:
    """The parameter set of an ML-KEM key."""
    assert isinstance(public.parameters, TPMS_MLKEM_PARMS)
    return public.parameters.parameter_set


def mldsa_parms(public: TPMT_PUBLIC) -> int:
    """The parameter set of an ML-DSA or HashML-DSA key."""
    assert isinstance(public.parameters, TPMS_MLDSA_PARMS | TPMS_HASH_MLDSA_PARMS)
    return public.parameters.parameter_set


def encoded(public: TPMT_PUBLIC) -> bytes:
    """The public key of an ML-KEM, ML-DSA or HashML-DSA key, valid or not."""
    assert isinstance(public.unique, bytes)
    return public.unique


def mlkem_public(key: LoadedObject) -> mlkem.PublicKey:
    """The encapsulation key of an ML-KEM key. RC.KEY if it is none."""
    public, private = key.mlkem_keys
    if public is None:
        public = mlkem.decoded(mlkem_parms(key.public), encoded(key.public))
        key.mlkem_keys = public, private
    return public


def mlkem_private(key: LoadedObject) -> mlkem.PrivateKey:
    """The decapsulation key of an ML-KEM key whose sensitive area is loaded (Part 1, 47.2)."""
    public, private = key.mlkem_keys
    if private is None:
        private = mlkem.private_key(mlkem_parms(key.public), _seed(key))
        key.mlkem_keys = public, private
    return private


def mldsa_public(key: LoadedObject) -> mldsa.PublicKey:
    """The verification key of an ML-DSA or HashML-DSA key."""
    public, private = key.mldsa_keys
    if public is None:
        public = mldsa.decoded(mldsa_parms(key.public), encoded(key.public))
        key.mldsa_keys = public, private
    return public


def mldsa_private(key: LoadedObject) -> mldsa.PrivateKey:
    """The signing key of such a key whose sensitive area is loaded (Part 1, 46.2)."""
    public, private = key.mldsa_keys
    if private is None:
        private = mldsa.private_key(mldsa_parms(key.public), _seed(key))
        key.mldsa_keys = public, private
    return private


def _seed(key: LoadedObject) -> bytes:
    assert key.sensitive is not None
    return key.sensitive.sensitive


def symmetric(public: TPMT_PUBLIC) -> TPMT_SYM_DEF_OBJECT | None:
    """The block cipher of a SYMCIPHER or asymmetric object; None for a keyedHash object."""
    parameters = public.parameters
    match parameters:
        case TPMS_SYMCIPHER_PARMS():
            return parameters.sym
        case TPMS_RSA_PARMS() | TPMS_ECC_PARMS() | TPMS_MLKEM_PARMS():
            return parameters.symmetric
        case _:
            return None
