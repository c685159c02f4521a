"""The Edwards curves of EdDSA (RFC 8032, 5.1 and 5.2), and points on them.

What is done in Python is done with public points alone. Multiplying the base point by a secret is
left to OpenSSL, which does that on the Montgomery curves only, by X25519 and X448: the coordinate
they return is carried over, and so is that of the next multiple, which says which of two points it
is.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

from gmpy2 import invert, mpz, powmod

from ..rc import RC, TpmError
from ..wire.constants import ECC_CURVE
from . import montgomery

_WINDOW: Final = 5
_BASE_WINDOW: Final = 7
"""Bits that one addition takes care of, of multiples of any point and of the base point."""


class EdwardsPoint(NamedTuple):
    """Extended coordinates: x = X/Z, y = Y/Z, xy = T/Z."""

    x: int
    y: int
    z: int
    t: int


@dataclass(frozen=True, slots=True)
class EdwardsCurve:
    """ax^2 + y^2 = 1 + dx^2y^2 modulo p, with a base point (x, y) of prime order n."""

    curve_id: int
    size: int
    """Octets of a private key, of a public key, and of each half of a signature."""
    p: int
    a: int
    d: int
    x: int
    y: int
    n: int

    @property
    def base(self) -> EdwardsPoint:
        """The base point."""
        return self.point(self.x, self.y)

    def point(self, x: int, y: int) -> EdwardsPoint:
        """A point of affine coordinates."""
        return EdwardsPoint(mpz(x), mpz(y), mpz(1), mpz(x) * y % self.p)


_ED25519 = EdwardsCurve(
    ECC_CURVE.CURVE_25519,
    32,
    2**255 - 19,
    -1,
    37095705934669439343138083508754565189542113879843219016388785533085940283555,
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960,
    montgomery.CURVES[ECC_CURVE.CURVE_25519].n,
)
_ED448 = EdwardsCurve(
    ECC_CURVE.CURVE_448,
    57,
    2**448 - 2**224 - 1,
    1,
    -39081,
    224580040295924300187604334099896036246789641632564134246125461686950415467406032909029192869357953282578032075146446173674602635247710,
    298819210078481492676017930443930673437544040154080242095928241372331506189835876003536878655418784733982303233503462500531545062832660,
    montgomery.CURVES[ECC_CURVE.CURVE_448].n,
)
CURVES: dict[int, EdwardsCurve] = {curve.curve_id: curve for curve in (_ED25519, _ED448)}


def encode(curve: EdwardsCurve, point: EdwardsPoint) -> bytes:
    """y, little-endian, with the lowest bit of x as its highest (5.1.2 and 5.2.2)."""
    inverse = invert(point.z, curve.p)
    x, y = int(point.x * inverse % curve.p), int(point.y * inverse % curve.p)
    return (y | (x & 1) << 8 * curve.size - 1).to_bytes(curve.size, "little")


def decode(curve: EdwardsCurve, octets: bytes) -> EdwardsPoint:
    """The inverse of `encode` (5.1.3 and 5.2.3). TPM_RC_ECC_POINT."""
    number = int.from_bytes(octets, "little")
    sign = number >> 8 * curve.size - 1
    y = number ^ sign << 8 * curve.size - 1
    if len(octets) != curve.size or y >= curve.p:
        raise TpmError(RC.ECC_POINT)
    x = _x_of(curve, y)
    if sign and not x:
        raise TpmError(RC.ECC_POINT)
    return curve.point(curve.p - x if x & 1 != sign else x, y)


def _x_of(curve: EdwardsCurve, y: int) -> int:
    """One x with which y is on the curve. TPM_RC_ECC_POINT if there is none."""
    p = curve.p
    square: int = (1 - y * y) * invert(curve.a - curve.d * y * y, p) % p
    if p % 4 == 3:
        x: int = powmod(square, (p + 1) // 4, p)
    else:
        x = powmod(square, (p + 3) // 8, p)
        if x * x % p != square:
            x = x * powmod(2, (p - 1) // 4, p) % p
    if x * x % p != square:
        raise TpmError(RC.ECC_POINT)
    return x


def add(curve: EdwardsCurve, first: EdwardsPoint, second: EdwardsPoint) -> EdwardsPoint:
    """The sum of any two points: the law is complete, for d is no square."""
    p = curve.p
    a, b = first.x * second.x, first.y * second.y
    c, d = first.t * second.t % p * curve.d, first.z * second.z
    e = ((first.x + first.y) * (second.x + second.y) - a - b) % p
    f, g, h = (d - c) % p, (d + c) % p, (b - curve.a * a) % p
    return EdwardsPoint(e * f % p, g * h % p, f * g % p, e * h % p)


def negative(point: EdwardsPoint) -> EdwardsPoint:
    """-P."""
    return EdwardsPoint(-point.x, point.y, point.z, -point.t)


def _double(curve: EdwardsCurve, point: EdwardsPoint) -> EdwardsPoint:
    """P + P, with fewer multiplications than `add`."""
    p = curve.p
    a, b = point.x * point.x, point.y * point.y
    e = ((point.x + point.y) ** 2 - a - b) % p
    g = (curve.a * a + b) % p
    f, h = (g - 2 * point.z * point.z) % p, (curve.a * a - b) % p
    return EdwardsPoint(e * f % p, g * h % p, f * g % p, e * h % p)


def combination(curve: EdwardsCurve, s: int, k: int, point: EdwardsPoint) -> EdwardsPoint:
    """[s]B + [k]P in variable time: for public numbers only."""
    terms = (
        (_digits(s, _BASE_WINDOW), _base_multiples(curve.curve_id)),
        (_digits(k, _WINDOW), _odd_multiples(curve, point, _WINDOW)),
    )
    result = EdwardsPoint(mpz(0), mpz(1), mpz(1), mpz(0))
    for position in range(max(len(digits) for digits, _ in terms) - 1, -1, -1):
        result = _double(curve, result)
        for digits, multiples in terms:
            digit = digits[position] if position < len(digits) else 0
            if digit > 0:
                result = add(curve, result, multiples[digit >> 1])
            elif digit < 0:
                result = add(curve, result, negative(multiples[-digit >> 1]))
    return result


def _digits(number: int, width: int) -> list[int]:
    """The number in binary, lowest digit first, by digits that are 0 or odd and below 2^(width-1).

    Of `width` in a row at most one is not 0.
    """
    digits = []
    while number:
        digit = 0
        if number & 1:
            digit = number & (1 << width) - 1
            if digit >> width - 1:
                digit -= 1 << width
            number -= digit
        digits.append(digit)
        number >>= 1
    return digits


def _odd_multiples(curve: EdwardsCurve, point: EdwardsPoint, width: int) -> list[EdwardsPoint]:
    """P, 3P, 5P… as far as `_digits` of this width need them."""
    twice, multiples = _double(curve, point), [point]
    while len(multiples) < 1 << width - 2:
        multiples.append(add(curve, multiples[-1], twice))
    return multiples


@cache
def _base_multiples(curve_id: int) -> list[EdwardsPoint]:
    curve = CURVES[curve_id]
    return _odd_multiples(curve, curve.base, _BASE_WINDOW)


def base_multiple(curve: EdwardsCurve, scalar: int) -> bytes:
    """[scalar]B, encoded, for a secret scalar that is not 0 or -1 modulo n.

    Raises TPM_RC_NO_RESULT for a scalar that X448 has no equal of, of which there are too few to be
    met.
    """
    y = _y_of_multiple(curve, scalar)
    one = curve.point(_x_of(curve, y), y)
    next_y = _y_of_multiple(curve, scalar + 1)
    following = add(curve, one, curve.base)
    if (next_y * following.z - following.y) % curve.p:
        one = negative(one)
    return encode(curve, one)


def _y_of_multiple(curve: EdwardsCurve, scalar: int) -> int:
    """y of [scalar]B, by X25519 or X448."""
    form, p = montgomery.CURVES[curve.curve_id], curve.p
    if curve is _ED448:
        scalar = scalar * pow(4, -1, form.n)  # the map below multiplies by 4
    private = _exchange_key(form, scalar % form.n)
    u = mpz(int.from_bytes(montgomery.public_key(form, private), "little"))
    if curve is _ED25519:  # RFC 7748, 4.1
        return int((u - 1) * invert(u + 1, p) % p)
    square = u * (u * u + form.a * u + 1) % p  # RFC 7748, 4.2; v only occurs as a square
    cube = u**3 % p
    fifth = cube * u * u
    above = -(fifth - 2 * cube - 4 * u * square + u)
    below = fifth - 2 * u * u * square - 2 * cube - 2 * square + u
    return int(above * invert(below, p) % p)


def _exchange_key(form: montgomery.MontgomeryCurve, scalar: int) -> bytes:
    """A private key of X25519 or X448 that multiplies points of order n by plus or minus `scalar`.

    Those are the multiples of the cofactor between 2^(bits - 1) and 2^bits.
    """
    highest = 1 << 8 * form.size - (2 if form.h == 8 else 1)
    number = scalar + form.n * (-scalar * pow(form.n, -1, form.h) % form.h)
    if not number & highest:
        number = form.h * form.n - number
    if not number & highest or number >> highest.bit_length():
        raise TpmError(RC.NO_RESULT)
    return number.to_bytes(form.size, "little")
