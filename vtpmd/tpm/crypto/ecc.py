"""Elliptic curves: parameters, points, keys and key exchange (Part 1, 44).

OpenSSL does every scalar multiplication. The library only returns x, so `multiply` asks it for [d]P
and [d + 1]P and solves the addition law for y.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from ..rc import RC, TpmError
from ..wire.constants import ALG, ECC_CURVE
from . import der

_EXTRA_BITS = 64

Octets = Callable[[int], bytes]
"""Source of random or derived octets, as many as asked for."""


class Point(NamedTuple):
    """Affine coordinates, not necessarily on a curve."""

    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Curve:
    """y^2 = x^3 + ax + b modulo p with generator `g` of prime order n; the cofactor is 1."""

    curve_id: int
    key_bits: int
    p: int
    b: int
    g: Point
    n: int
    library: ec.EllipticCurve
    hash_alg: int
    """A hash of its strength, not longer than its order; reported as the hash of its KDF."""
    oid: bytes
    """In DER."""

    @property
    def a(self) -> int:
        """The linear coefficient, -3 for every curve here."""
        return self.p - 3

    @property
    def h(self) -> int:
        """The cofactor."""
        return 1

    @property
    def size(self) -> int:
        """Octets of a coordinate, of the order, and of a private key."""
        return (self.key_bits + 7) // 8

    def octets(self, value: int) -> bytes:
        """`value` padded to `size`, as every coordinate leaves the TPM (44.5.3)."""
        return value.to_bytes(self.size, "big")

    def contains(self, point: Point) -> bool:
        """Whether `point` is on the curve, with reduced coordinates."""
        x, y = point
        if not (0 <= x < self.p and 0 <= y < self.p):
            return False
        return (y * y - self._right(x)) % self.p == 0

    def _right(self, x: int) -> int:
        return (x * x + self.a) * x + self.b

    def check(self, point: Point) -> None:
        """TPM_RC_ECC_POINT unless `point` is on the curve."""
        if not self.contains(point):
            raise TpmError(RC.ECC_POINT)


_P256 = Curve(
    ECC_CURVE.NIST_P256,
    256,
    2**256 - 2**224 + 2**192 + 2**96 - 1,
    0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    Point(
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    ),
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    ec.SECP256R1(),
    ALG.SHA256,
    der.oid("1.2.840.10045.3.1.7"),
)
_P384 = Curve(
    ECC_CURVE.NIST_P384,
    384,
    2**384 - 2**128 - 2**96 + 2**32 - 1,
    0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    Point(
        0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
        0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
    ),
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    ec.SECP384R1(),
    ALG.SHA384,
    der.oid("1.3.132.0.34"),
)
_P521 = Curve(
    ECC_CURVE.NIST_P521,
    521,
    2**521 - 1,
    0x0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
    Point(
        0x00C6858E06B70404E9CD9E3ECB662395B4429C648139053FB521F828AF606B4D3DBAA14B5E77EFE75928FE1DC127A2FFA8DE3348B3C1856A429BF97E7E31C2E5BD66,
        0x011839296A789A3BC0045C8A5FB42C7D1BD998F54449579B446817AFBD17273E662C97EE72995EF42640C550B9013FAD0761353C7086A272C24088BE94769FD16650,
    ),
    0x01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
    ec.SECP521R1(),
    ALG.SHA512,
    der.oid("1.3.132.0.35"),
)
CURVES: dict[int, Curve] = {curve.curve_id: curve for curve in (_P256, _P384, _P521)}


def private_key(curve: Curve, octets: Octets) -> int:
    """d in [1, n - 1] from extra random bits (44.6; FIPS 186-5, A.2.1)."""
    drawn = int.from_bytes(octets(curve.size + _EXTRA_BITS // 8), "big")
    return drawn % (curve.n - 1) + 1


def public_point(curve: Curve, d: int) -> Point:
    """[d]G. TPM_RC_NO_RESULT if it is the point at infinity."""
    return _point(_library_key(curve, d).public_key())


def check_pair(curve: Curve, d: int, point: Point) -> None:
    """TPM_RC_BINDING unless `point` is [d]G with d in [1, n - 1] (44.1)."""
    if not 0 < d < curve.n or public_point(curve, d) != point:
        raise TpmError(RC.BINDING)


def multiply(curve: Curve, d: int, point: Point) -> Point:
    """[d]P, both coordinates.

    Raises TPM_RC_ECC_POINT if P is not on the curve, TPM_RC_NO_RESULT if the product is the point
    at infinity.
    """
    curve.check(point)
    d %= curve.n
    if d == 1:
        return point
    if d == curve.n - 1:
        return _opposite(curve, point)
    peer = library_point(curve, point)
    x = _exchange(_library_key(curve, d), peer)
    next_x = _exchange(_library_key(curve, d + 1), peer)
    # Addition law: next_x = s^2 - x - P.x with s = (y - P.y) / (x - P.x), where y^2 is known.
    # y is never 0: the order is odd, so there is no point of order two.
    p = curve.p
    square = (next_x + x + point.x) * (x - point.x) ** 2
    twice_product = curve._right(x) + point.y * point.y - square
    return Point(x, twice_product * pow(2 * point.y, -1, p) % p)


def _opposite(curve: Curve, point: Point) -> Point:
    """-P of a point on the curve."""
    return Point(point.x, curve.p - point.y)


def add(curve: Curve, first: Point, second: Point) -> Point:
    """P + Q of points on the curve, in variable time: for public points only.

    Raises TPM_RC_NO_RESULT if the sum is the point at infinity.
    """
    p = curve.p
    if first.x != second.x:
        slope = (second.y - first.y) * pow(second.x - first.x, -1, p) % p
    elif first.y == second.y:
        slope = (3 * first.x * first.x + curve.a) * pow(2 * first.y, -1, p) % p
    else:
        raise TpmError(RC.NO_RESULT)
    x = (slope * slope - first.x - second.x) % p
    return Point(x, (slope * (first.x - x) - first.y) % p)


def full_unified_model(
    curve: Curve, d_static: int, d_ephemeral: int, q_static: Point, q_ephemeral: Point
) -> tuple[Point, Point]:
    """(outZ1, outZ2) of TPM2_ZGen_2Phase with TPM_ALG_ECDH (44.8.4.2); raises as `multiply`."""
    return multiply(curve, d_static, q_static), multiply(curve, d_ephemeral, q_ephemeral)


def library_point(curve: Curve, point: Point) -> ec.EllipticCurvePublicKey:
    """`point`, which is on the curve, as OpenSSL takes it."""
    return ec.EllipticCurvePublicNumbers(point.x, point.y, curve.library).public_key()


def _library_key(curve: Curve, d: int) -> ec.EllipticCurvePrivateKey:
    d %= curve.n
    if d == 0:
        raise TpmError(RC.NO_RESULT)
    return ec.derive_private_key(d, curve.library)


def _exchange(key: ec.EllipticCurvePrivateKey, peer: ec.EllipticCurvePublicKey) -> int:
    return int.from_bytes(key.exchange(ec.ECDH(), peer), "big")


def _point(key: ec.EllipticCurvePublicKey) -> Point:
    numbers = key.public_numbers()
    return Point(numbers.x, numbers.y)
