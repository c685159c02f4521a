"""Textbook arithmetic on the curves of RFC 8032, in affine coordinates; independent of vtpmd."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

Affine = tuple[int, int]


@dataclass(frozen=True)
class Curve:
    """ax^2 + y^2 = 1 + dx^2y^2, and H and the domain of the hashed variant."""

    size: int
    p: int
    a: int
    d: int
    base: Affine
    n: int
    hashed: Callable[[bytes], bytes]
    domain: bytes


_P25519, _P448 = 2**255 - 19, 2**448 - 2**224 - 1
ED25519 = Curve(
    32,
    _P25519,
    _P25519 - 1,
    -121665 * pow(121666, -1, _P25519) % _P25519,
    (
        15112221349535400772501151409588531511454012693041857206046113283949847762202,
        4 * pow(5, -1, _P25519) % _P25519,
    ),
    2**252 + 27742317777372353535851937790883648493,
    lambda octets: hashlib.sha512(octets).digest(),
    b"SigEd25519 no Ed25519 collisions\1\0",
)
ED448 = Curve(
    57,
    _P448,
    1,
    _P448 - 39081,
    (
        int(
            "224580040295924300187604334099896036246789641632564134246125461686950415467406032909029"
            "192869357953282578032075146446173674602635247710"
        ),
        int(
            "298819210078481492676017930443930673437544040154080242095928241372331506189835876003536"
            "878655418784733982303233503462500531545062832660"
        ),
    ),
    2**446 - 0x8335DC163BB124B65129C96FDE933D8D723A70AADC873D6D54A7BB0D,
    lambda octets: hashlib.shake_256(octets).digest(114),
    b"SigEd448\1\0",
)


def add(curve: Curve, first: Affine, second: Affine) -> Affine:
    """The sum of two points."""
    (x1, y1), (x2, y2), p = first, second, curve.p
    product = curve.d * x1 * x2 * y1 * y2 % p
    x = (x1 * y2 + y1 * x2) * pow(1 + product, -1, p)
    y = (y1 * y2 - curve.a * x1 * x2) * pow(1 - product, -1, p)
    return x % p, y % p


def multiply(curve: Curve, scalar: int, point: Affine) -> Affine:
    """`scalar` times `point` by doubling and adding."""
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = add(curve, result, point)
        point = add(curve, point, point)
        scalar >>= 1
    return result


def encoded(curve: Curve, point: Affine) -> bytes:
    """5.1.2 and 5.2.2."""
    return (point[1] | (point[0] & 1) << 8 * curve.size - 1).to_bytes(curve.size, "little")


def decoded(curve: Curve, octets: bytes) -> Affine:
    """The point of these octets, by trying both roots."""
    number = int.from_bytes(octets, "little")
    y, p = number & (1 << 8 * curve.size - 1) - 1, curve.p
    square = (1 - y * y) * pow(curve.a - curve.d * y * y, -1, p) % p
    roots = [pow(square, (p + 1) // 4, p)] if p % 4 == 3 else []
    if not roots:
        root = pow(square, (p + 3) // 8, p)
        roots = [root, root * pow(2, (p - 1) // 4, p) % p]
    for root in roots:
        for x in (root, p - root):
            if x * x % p == square and x & 1 == number >> 8 * curve.size - 1:
                return x, y
    raise ValueError("no point")


def accepts_hashed(curve: Curve, public: bytes, signature: bytes, digest: bytes) -> bool:
    """Whether it is a signature of Ed25519ph or Ed448ph over a message with this digest."""
    r, s = signature[: curve.size], int.from_bytes(signature[curve.size :], "little")
    k = int.from_bytes(curve.hashed(curve.domain + r + public + digest), "little")
    if s >= curve.n:
        return False
    other = multiply(curve, k % curve.n, decoded(curve, public))
    right = add(curve, decoded(curve, r), other)
    return multiply(curve, s, curve.base) == right


def sign_hashed(curve: Curve, private: bytes, digest: bytes) -> bytes:
    """The signature of Ed25519ph or Ed448ph over a message with this digest (5.1.6 and 5.2.6)."""
    expanded = curve.hashed(private)
    low, bits = (2, 447) if curve is ED448 else (3, 254)
    secret = int.from_bytes(expanded[: curve.size], "little") % (1 << bits)
    secret = (secret >> low << low) + (1 << bits)
    public = encoded(curve, multiply(curve, secret, curve.base))
    r = int.from_bytes(curve.hashed(curve.domain + expanded[curve.size :] + digest), "little")
    nonce = encoded(curve, multiply(curve, r % curve.n, curve.base))
    k = int.from_bytes(curve.hashed(curve.domain + nonce + public + digest), "little")
    return nonce + ((r + k * secret) % curve.n).to_bytes(curve.size, "little")
