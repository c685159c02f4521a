"""The prime search where swtpm cannot be asked: odd sizes, level 0, cancelling, bad generators."""

import struct

import gmpy2
import pytest

from vtpmd.tpm.crypto import primes
from vtpmd.tpm.crypto.drbg import Drbg, KdfStream
from vtpmd.tpm.crypto.primes import NoFactorError, is_probable_prime, never, prime, prime_pair
from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.wire.constants import ALG


@pytest.mark.parametrize("bits", [512, 1024, 1536])
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("exponent", [65537, 65539])
def test_a_prime_is_prime_and_fits_the_exponent(bits: int, level: int, exponent: int) -> None:
    found = prime(
        bits, exponent, Drbg(b"seed", bytes([bits % 251, level])), level, never, is_probable_prime
    )
    assert gmpy2.is_prime(found, 40)
    assert found.bit_length() == bits
    assert found >> bits - 16 >= 0xB505
    assert found % exponent not in (0, 1)


def test_a_pair_has_a_modulus_of_full_length() -> None:
    first, second = prime_pair(1024, 65537, Drbg(b"pair"), 1, never)
    assert (first * second).bit_length() == 1024
    assert abs(first - second).bit_length() > 100


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("bits", [1024, 2048])
def test_a_known_modulus_has_the_same_factors_after_the_same_draws(bits: int, level: int) -> None:
    """What is drawn after the primes depends on every draw before."""
    for number in range(3):
        searching, knowing = (Drbg(b"pair", bytes([number])) for _ in range(2))
        first, second = prime_pair(bits, 65537, searching, level, never)
        found = prime_pair(bits, 65537, knowing, level, never, first * second)
        assert found == (first, second)
        assert knowing.generate(32) == searching.generate(32)


def test_another_modulus_is_refused() -> None:
    first, second = prime_pair(1024, 65537, Drbg(b"pair"), 1, never)
    other, _ = prime_pair(1024, 65537, Drbg(b"other pair"), 1, never)
    for modulus in (first * other, other * second, 15, 2**1024 - 1):
        with pytest.raises(NoFactorError):
            prime_pair(1024, 65537, Drbg(b"pair"), 1, never, modulus)


def test_known_primes_and_composites() -> None:
    generator = Drbg(b"rounds")
    for candidate in range(101, 2001, 2):
        assert is_probable_prime(candidate, generator) == bool(gmpy2.is_prime(candidate))
    assert is_probable_prime(2**521 - 1, generator)
    assert not is_probable_prime((2**521 - 1) * (2**127 - 1), generator)


class Counter:
    """A Drbg that counts the numbers drawn."""

    def __init__(self) -> None:
        self._drbg = Drbg(b"bases")
        self.drawn = 0

    def generate(self, size: int) -> bytes:
        return self._drbg.generate(size)

    def integer(self, bits: int) -> int:
        self.drawn += 1
        return self._drbg.integer(bits)


@pytest.mark.parametrize(("bits", "rounds"), [(510, 8), (512, 5), (1024, 5), (1536, 4)])
def test_draws_are_those_of_every_round(bits: int, rounds: int) -> None:
    """One base for a composite number, as if it had been tried; one a round for a prime."""
    counter = Counter()
    candidate = int(gmpy2.next_prime((1 << bits) - 10**5))  # hardly any number drawn is beyond
    assert is_probable_prime(candidate, counter)
    assert counter.drawn == rounds
    counter.drawn = 0
    for step in range(2, 200, 2):
        if not gmpy2.is_prime(candidate + step):
            assert not is_probable_prime(candidate + step, counter)
            assert counter.drawn == 1
            counter.drawn = 0


def test_what_base_2_does_not_show() -> None:
    """Strong pseudoprimes to base 2 are composite to the bases drawn."""
    for candidate in (2047, 3277, 4033, 4681, 8321, 486737):
        assert not is_probable_prime(candidate, Drbg(b"rounds"))


class Recorder:
    """Draws given octets first, then those of a Drbg, and keeps what was asked for."""

    def __init__(self, *first: bytes) -> None:
        self._first = list(first)
        self._drbg = Drbg(b"rest")
        self.asked: list[int] = []

    def generate(self, size: int) -> bytes:
        self.asked.append(size)
        return self._first.pop(0) if self._first else self._drbg.generate(size)

    def integer(self, bits: int) -> int:
        return self._drbg.integer(bits)


def field_start(octets: bytes, level: int) -> int:
    """Where the search for a candidate drawn as `octets` starts, computed word by word."""
    if level == 0:
        words = list(struct.unpack(f"<{len(octets) // 8}Q", octets))
        high = (((words[-1] >> 48) * 0x4AFB) >> 16) + 0xB505
        words[-1] = (high << 48) + (words[-1] % 2**16)
        candidate = int.from_bytes(struct.pack(f"<{len(words)}Q", *words), "little")
    else:
        head, rest = int.from_bytes(octets[:4], "big"), octets[4:]
        head = (head >> 16) * 0x4AFB + ((head % 2**16) * 0x4AFB >> 16) + 0xB5050000
        candidate = int.from_bytes(head.to_bytes(4, "big") + rest, "big")
    return candidate | 1


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("octets", [bytes(64), b"\xff" * 64, bytes(range(1, 65)), b"\x80" * 64])
def test_search_stays_in_the_field_of_the_candidate(level: int, octets: bytes) -> None:
    recorder = Recorder(octets)
    found = prime(512, 65537, recorder, level, never, is_probable_prime)
    assert recorder.asked == [64]
    assert -210 < found - field_start(octets, level) < 2 * 16384


def test_a_generator_that_repeats_itself_gives_no_pair() -> None:
    calls = 0

    def third_prime_or_later() -> bool:
        nonlocal calls
        calls += 1
        return calls > 20  # it takes one for each prime

    class Stuck(Recorder):
        def generate(self, size: int) -> bytes:
            return bytes(range(size))

    with pytest.raises(TpmError) as error:
        prime_pair(1024, 65537, Stuck(), 1, third_prime_or_later)
    assert error.value.code == RC.CANCELED


def test_sieve_strikes_exactly_the_multiples_of_its_primes() -> None:
    base = gmpy2.mpz(105 * 10**60 + 105 * 2)
    base += 105 * (1 - base % 2)
    field = primes._sieve(base, 512)
    product = gmpy2.primorial(8167) // 2
    for k in (*range(300), *range(16000, 16384)):
        assert field[k] == (gmpy2.gcd(base + 2 * k, product) == 1)


def test_drbg_is_a_function_of_all_its_material() -> None:
    assert Drbg(b"a", b"b").generate(40) == Drbg(b"ab").generate(40)
    streams = {Drbg(bytes(n)).generate(40) for n in range(40)}
    assert len(streams) == 40
    reseeded = Drbg(b"a")
    reseeded.reseed(b"b")
    assert reseeded.generate(40) != Drbg(b"a").generate(40)
    assert Drbg(b"a").generate(7) == Drbg(b"a").generate(40)[:7]


def test_drbg_integers_are_masked() -> None:
    drbg = Drbg(b"bits")
    assert max(drbg.integer(9) for _ in range(200)) in range(256, 512)


def test_kdf_stream_is_one_kdfa_and_ends_at_its_limit() -> None:
    stream = KdfStream(ALG.SHA256, b"seed", b"label", b"context", 800)
    whole = KdfStream(ALG.SHA256, b"seed", b"label", b"context", 800).generate(100)
    assert stream.generate(33) + stream.generate(0) + stream.generate(67) == whole
    with pytest.raises(ValueError, match="limit"):
        stream.generate(1)
