"""The RSA prime search of libtpms, reproduced draw by draw.

A primary key is a function of seed and template only if candidates, the order in which they are
tried and the bases of every Miller-Rabin round are the same, so none of this may be "improved".
The speed comes from gmpy2 and from sieving with slices.
"""

from collections.abc import Callable
from functools import cache
from itertools import compress
from typing import Final, Protocol

import gmpy2
from gmpy2 import mpz

from ..rc import RC, EngineError, TpmError

LEVEL: Final = 1
"""Seed compatibility level of every seed made here, and by libtpms since 0.8.

Level 0 draws primes differently.
"""

_FIELD = 16384
"""Odd numbers in one sieve field."""

_FIELD_ALIGNMENT = 105
_SIEVE_LIMITS = ((512, 8167), (1024, 38891))
"""(largest candidate in bits, largest sieving prime)."""

_SIEVE_LIMIT = 65535
"""For larger candidates."""

_ROUNDS = ((510, 8), (1535, 5))
"""(largest candidate in bits, Miller-Rabin rounds); above, four (FIPS 186-3, table C.3)."""

_MIN_DISTANCE_BITS = 101
"""The least size of |p - q| in bits, as in libtpms (FIPS 186-5, A.1.3 requires more)."""

_MAX_CANDIDATES = 2048
"""Of a search whose outcome is known. Two primes of 1024 bits take 150 on the average."""

ShouldStop = Callable[[], bool]
"""Polled between steps of at most a few milliseconds; True ends the search with RC.CANCELED."""


class Generator(Protocol):
    """The source of candidates and bases."""

    def generate(self, size: int, /) -> bytes: ...
    def integer(self, bits: int, /) -> int: ...


Judge = Callable[[int, Generator], bool]
"""Whether an odd candidate is prime; draws as many bases as libtpms draws to find that out."""


class NoFactorError(EngineError):
    """A modulus is not the one that would be found."""


def never() -> bool:
    """The `ShouldStop` of work that is not to be cancelled."""
    return False


def prime_pair(
    bits: int,
    exponent: int,
    generator: Generator,
    level: int,
    should_stop: ShouldStop,
    modulus: int | None = None,
) -> tuple[int, int]:
    """(first, second) prime found for an RSA modulus of `bits`; TPM_RC_CANCELED if stopped.

    `level` is `LEVEL` or 0. Of the two primes, libtpms stores the second in the sensitive area.
    Who knows the `modulus` that will be found gets its factors in a tenth of the time. Raises
    NoFactorError if it is another.
    """
    judge = is_probable_prime if modulus is None else _Factors(modulus)
    first = prime(bits // 2, exponent, generator, level, should_stop, judge)
    while True:
        second = prime(bits // 2, exponent, generator, level, should_stop, judge)
        if abs(second - first).bit_length() >= _MIN_DISTANCE_BITS:
            break
    if modulus not in (None, first * second):
        raise NoFactorError
    return first, second


def prime(
    bits: int,
    exponent: int,
    generator: Generator,
    level: int,
    should_stop: ShouldStop,
    judge: Judge,
) -> int:
    """A prime of `bits` with exponent dividing neither p nor p - 1; bits a multiple of 64."""
    adjust = _ADJUSTMENTS[level]
    # Searched on a side thread: without this, other threads wait up to 0.3 s for their turn.
    with gmpy2.context(gmpy2.get_context(), allow_release_gil=True):
        while True:
            candidate = adjust(generator.generate(bits // 8))
            found = _search_field(candidate, bits, exponent, generator, should_stop, judge)
            if found is not None:
                return found


def _adjusted_original(octets: bytes) -> int:
    """Level 0: the octets as a 64-bit little-endian machine saw them, 32 bits lost on the way.

    Older versions of libtpms drew this way (CVE-2021-3505); seeds from then need it.
    """
    top = 8 * len(octets) - 64
    candidate = int.from_bytes(octets, "little")
    word = candidate >> top
    high = ((word >> 48) * 0x4AFB >> 16) + 0xB505
    return candidate & (1 << top) - 1 | (high << 48 | word & 0xFFFF) << top | 1


def _adjusted(octets: bytes) -> int:
    """Level 1: big-endian, the top 32 bits scaled into [sqrt(2)/2, 1)."""
    top = 8 * len(octets) - 32
    candidate = int.from_bytes(octets, "big")
    word = candidate >> top
    scaled = (word >> 16) * 0x4AFB + ((word & 0xFFFF) * 0x4AFB >> 16) + 0xB5050000
    return candidate & (1 << top) - 1 | scaled << top | 1


_ADJUSTMENTS: tuple[Callable[[bytes], int], ...] = (_adjusted_original, _adjusted)


def _search_field(
    candidate: int,
    bits: int,
    exponent: int,
    generator: Generator,
    should_stop: ShouldStop,
    judge: Judge,
) -> int | None:
    """A prime in the field that starts at `candidate`, or None if the field holds none.

    Members left by the sieve are tried in an order given by the low word of the candidate.
    """
    selector = candidate & 0xFFFFFFFF | 0x80000000
    back = candidate % _FIELD_ALIGNMENT
    base = mpz(candidate - (back + _FIELD_ALIGNMENT if back & 1 else back))
    members = list(compress(range(_FIELD), _sieve(base, bits)))
    while members:
        if should_stop():
            raise TpmError(RC.CANCELED)
        trial = base + 2 * members.pop(selector % len(members))
        if trial % exponent > 1 and judge(trial, generator):
            return int(trial)
    return None


def _sieve(base: mpz, bits: int) -> bytearray:
    """field[k] is 1 where the odd number base + 2k has no factor among the sieving primes."""
    field = bytearray(b"\x01") * _FIELD
    zeros = bytes(_FIELD)
    for product, factors in _sieving_primes(bits):
        remainder = int(base % product)
        for factor in factors:
            # The k with base + 2k = 0 modulo factor; (factor + 1) / 2 is the inverse of 2.
            offset = -remainder * ((factor + 1) >> 1) % factor
            if factor < _FIELD:
                field[offset::factor] = zeros[: (_FIELD - 1 - offset) // factor + 1]
            elif offset < _FIELD:
                field[offset] = 0
    return field


def _sieving_primes(bits: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
    return _grouped_primes(next((top for size, top in _SIEVE_LIMITS if bits <= size), _SIEVE_LIMIT))


@cache
def _grouped_primes(limit: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Odd primes up to `limit` in groups, each with its product below 2^60.

    One division of a large number by the product then serves the whole group.
    """
    marks = bytearray(b"\x01") * (limit + 1)
    for i in range(2, int(gmpy2.isqrt(limit)) + 1):
        if marks[i]:
            marks[i * i :: i] = bytes(len(range(i * i, limit + 1, i)))
    groups: list[tuple[int, tuple[int, ...]]] = []
    product = 1
    factors: list[int] = []
    for factor in compress(range(3, limit + 1), marks[3:]):
        if product * factor >= 1 << 60:
            groups.append((product, tuple(factors)))
            product, factors = 1, []
        product *= factor
        factors.append(factor)
    groups.append((product, tuple(factors)))
    return tuple(groups)


def is_probable_prime(candidate: int, generator: Generator) -> bool:
    """Miller-Rabin (FIPS 186-3, C.3.1) on odd `candidate`, bases drawn from `generator`.

    What base 2 shows to be composite, with less work, is taken to fail the first round, too: of a
    random candidate of 512 bits it would pass that with a probability below 2^-56, of more bits
    with a smaller one (Handbook of Applied Cryptography, table 4.3). The base is drawn still.
    """
    w = mpz(candidate)
    last = w - 1
    bits = w.bit_length()
    shift = gmpy2.bit_scan1(last) or 0
    odd = last >> shift
    composite = not _passes(w, last, gmpy2.powmod(2, odd, w), shift)
    for _ in range(_rounds(bits)):
        base = _base(generator, bits, last)
        if composite or not _passes(w, last, gmpy2.powmod(base, odd, w), shift):
            return False
    return True


def _rounds(bits: int) -> int:
    return next((rounds for size, rounds in _ROUNDS if bits <= size), 4)


def _base(generator: Generator, bits: int, last: int) -> int:
    base = generator.integer(bits)
    while not 1 < base < last:
        base = generator.integer(bits)
    return base


class _Factors:
    """Judges by a modulus: of the candidates up to its factors, those alone are prime."""

    def __init__(self, modulus: int) -> None:
        self._modulus = mpz(modulus)
        self._left = _MAX_CANDIDATES

    def __call__(self, candidate: int, generator: Generator) -> bool:
        self._left -= 1
        if not self._left:
            raise NoFactorError
        prime = not self._modulus % candidate
        bits = candidate.bit_length()
        for _ in range(_rounds(bits) if prime else 1):
            _base(generator, bits, candidate - 1)
        return prime


def _passes(w: mpz, last: mpz, z: mpz, shift: int) -> bool:
    if z in (1, last):
        return True
    for _ in range(shift - 1):
        z = z * z % w
        if z == last:
            return True
        if z == 1:
            return False
    return False
