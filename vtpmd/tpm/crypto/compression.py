"""The compression functions of the hash algorithms, in Python.

A hash sequence must survive TPM2_ContextSave, and hashlib gives no access to its intermediate
state. Each function folds whole blocks into a chaining value, a tuple of words. They take about a
microsecond per octet, so `resumable` uses them only where hashlib can't help.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isqrt
from struct import Struct

from . import keccak

State = tuple[int, ...]

_32 = 0xFFFFFFFF
_64 = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Compression:
    """How one hash algorithm turns blocks into a digest."""

    initial: State
    words: Struct
    """Encoding of the chaining value; the digest is its beginning."""

    fold: Callable[[State, bytes], State]
    """The chaining value after these whole blocks."""

    pad: Callable[[int], bytes]
    """The padding after a message of so many octets."""


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root(value: int) -> int:
    low, high = 0, 1 << (value.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**3 <= value:
            low = middle
        else:
            high = middle - 1
    return low


_K512 = tuple(_cube_root(prime << 192) & _64 for prime in _primes(80))
_K256 = tuple(word >> 32 for word in _K512[:64])
_SHA512_INITIAL = tuple(isqrt(prime << 128) & _64 for prime in _primes(8))
_SHA256_INITIAL = tuple(word >> 32 for word in _SHA512_INITIAL)
_SHA384_INITIAL = tuple(isqrt(prime << 128) & _64 for prime in _primes(16)[8:])
_SHA1_INITIAL = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)

_words_16_32 = Struct(">16I")
_words_16_64 = Struct(">16Q")


def fold_sha1(state: State, blocks: bytes) -> State:
    """SHA-1 (FIPS 180-4, 6.1.2)."""
    h0, h1, h2, h3, h4 = state
    for w16 in _words_16_32.iter_unpack(blocks):
        w = list(w16)
        for t in range(16, 80):
            x = w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16]
            w.append((x << 1 | x >> 31) & _32)
        a, b, c, d, e = h0, h1, h2, h3, h4
        for x in w[:20]:
            mixed = (a << 5 | a >> 27) + (d ^ b & (c ^ d)) + e + 0x5A827999 + x & _32
            a, b, c, d, e = mixed, a, (b << 30 | b >> 2) & _32, c, d
        for x in w[20:40]:
            mixed = (a << 5 | a >> 27) + (b ^ c ^ d) + e + 0x6ED9EBA1 + x & _32
            a, b, c, d, e = mixed, a, (b << 30 | b >> 2) & _32, c, d
        for x in w[40:60]:
            mixed = (a << 5 | a >> 27) + (b & c | d & (b | c)) + e + 0x8F1BBCDC + x & _32
            a, b, c, d, e = mixed, a, (b << 30 | b >> 2) & _32, c, d
        for x in w[60:]:
            mixed = (a << 5 | a >> 27) + (b ^ c ^ d) + e + 0xCA62C1D6 + x & _32
            a, b, c, d, e = mixed, a, (b << 30 | b >> 2) & _32, c, d
        h0, h1, h2 = h0 + a & _32, h1 + b & _32, h2 + c & _32
        h3, h4 = h3 + d & _32, h4 + e & _32
    return h0, h1, h2, h3, h4


def fold_sha256(state: State, blocks: bytes) -> State:
    """SHA-256 (FIPS 180-4, 6.2.2). Words are doubled so that a rotation is one shift."""
    for w16 in _words_16_32.iter_unpack(blocks):
        w = list(w16)
        for t in range(16, 64):
            x, y = w[t - 15], w[t - 2]
            xx, yy = x << 32 | x, y << 32 | y
            w.append(
                w[t - 16]
                + (xx >> 7 ^ xx >> 18 ^ x >> 3)
                + w[t - 7]
                + (yy >> 17 ^ yy >> 19 ^ y >> 10)
                & _32
            )
        a, b, c, d, e, f, g, h = state
        for k, x in zip(_K256, w, strict=True):
            ee, aa = e << 32 | e, a << 32 | a
            t1 = h + (ee >> 6 ^ ee >> 11 ^ ee >> 25) + (g ^ e & (f ^ g)) + k + x
            t2 = (aa >> 2 ^ aa >> 13 ^ aa >> 22) + (a & b | c & (a | b))
            a, b, c, d, e, f, g, h = t1 + t2 & _32, a, b, c, d + t1 & _32, e, f, g
        new = (a, b, c, d, e, f, g, h)
        state = tuple(s + n & _32 for s, n in zip(state, new, strict=True))
    return state


def fold_sha512(state: State, blocks: bytes) -> State:
    """SHA-512 and SHA-384 (FIPS 180-4, 6.4.2), as `fold_sha256`."""
    for w16 in _words_16_64.iter_unpack(blocks):
        w = list(w16)
        for t in range(16, 80):
            x, y = w[t - 15], w[t - 2]
            xx, yy = x << 64 | x, y << 64 | y
            w.append(
                w[t - 16] + (xx >> 1 ^ xx >> 8 ^ x >> 7) + w[t - 7] + (yy >> 19 ^ yy >> 61 ^ y >> 6)
                & _64
            )
        a, b, c, d, e, f, g, h = state
        for k, x in zip(_K512, w, strict=True):
            ee, aa = e << 64 | e, a << 64 | a
            t1 = h + (ee >> 14 ^ ee >> 18 ^ ee >> 41) + (g ^ e & (f ^ g)) + k + x
            t2 = (aa >> 28 ^ aa >> 34 ^ aa >> 39) + (a & b | c & (a | b))
            a, b, c, d, e, f, g, h = t1 + t2 & _64, a, b, c, d + t1 & _64, e, f, g
        new = (a, b, c, d, e, f, g, h)
        state = tuple(s + n & _64 for s, n in zip(state, new, strict=True))
    return state


def _merkle_damgard_padding(block_size: int) -> Callable[[int], bytes]:
    """The padding of FIPS 180-4, 5.1: a one, zeros, the length in bits."""
    length_size = block_size // 8

    def pad(total: int) -> bytes:
        zeros = -(total + 1 + length_size) % block_size
        return b"\x80" + bytes(zeros) + (8 * total).to_bytes(length_size, "big")

    return pad


def _sponge(strength: int, suffix: int) -> Compression:
    """A function whose capacity is twice its strength in octets (FIPS 202, 6.1 and 6.2).

    Its digest is shorter than the rate, so that it is squeezed out at once.
    """
    rate = 8 * keccak.LANES - 2 * strength
    return Compression(
        (0,) * keccak.LANES,
        Struct(f"<{keccak.LANES}Q"),
        partial(keccak.absorb, rate),
        partial(keccak.padding, rate, suffix),
    )


_pad_64 = _merkle_damgard_padding(64)
_pad_128 = _merkle_damgard_padding(128)
SHA1 = Compression(_SHA1_INITIAL, Struct(">5I"), fold_sha1, _pad_64)
SHA256 = Compression(_SHA256_INITIAL, Struct(">8I"), fold_sha256, _pad_64)
SHA384 = Compression(_SHA384_INITIAL, Struct(">8Q"), fold_sha512, _pad_128)
SHA512 = Compression(_SHA512_INITIAL, Struct(">8Q"), fold_sha512, _pad_128)
SHA3_256, SHA3_384, SHA3_512 = (_sponge(size, keccak.SHA3_SUFFIX) for size in (32, 48, 64))
SHAKE256 = _sponge(32, keccak.SHAKE_SUFFIX)
