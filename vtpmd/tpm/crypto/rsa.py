"""RSA keys and the two RSA primitives (Part 1, 43). Padding is in `rsa_schemes`.

OpenSSL signs. The raw private operation, which the library does not expose, is implemented here:
Chinese remainders with constant-time exponentiation, base blinding, and a check of the result with
the public key.
"""

from collections.abc import Callable
from functools import cached_property

import gmpy2
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPrivateNumbers,
    RSAPublicNumbers,
)
from gmpy2 import mpz

from ..rc import RC, TpmError
from .primes import LEVEL, ShouldStop, prime_pair

DEFAULT_EXPONENT = 65537
"""What an exponent of zero in TPMS_RSA_PARMS stands for."""

_BLINDING_MARGIN = 8

Entropy = Callable[[int], bytes]
"""Fresh random octets, as many as asked for."""


class RsaPublicKey:
    """Modulus `n` and exponent `e` from any source: nothing is assumed about them."""

    __slots__ = ("e", "n", "size")

    def __init__(self, n: int, e: int = DEFAULT_EXPONENT) -> None:
        self.n = n
        self.e = e
        self.size = (n.bit_length() + 7) // 8
        """Octets of the modulus and of every message block."""

    def apply(self, block: bytes) -> bytes:
        """RSAEP: `block` to the power e (43.2). TPM_RC_VALUE unless below the modulus."""
        value = int.from_bytes(block, "big")
        if value >= self.n:
            raise TpmError(RC.VALUE)
        return int(gmpy2.powmod(value, self.e, self.n)).to_bytes(self.size, "big")


class RsaKey:
    """A key pair. `p` is the prime kept in TPMT_SENSITIVE, `q` the other one.

    The parts are consistent, but the primes may be composite: the TPM does not test them, and a key
    that doesn't work fails with TPM_RC_BINDING when it is used.
    """

    def __init__(self, p: int, q: int, e: int) -> None:
        self.public = RsaPublicKey(p * q, e)
        self.p = p
        self.q = q
        try:
            self._d_p = gmpy2.invert(e, p - 1)
            self._d_q = gmpy2.invert(e, q - 1)
            self._q_inverse = gmpy2.invert(q, p)
        except ZeroDivisionError:
            raise TpmError(RC.BINDING) from None

    @classmethod
    def from_prime(cls, n: int, e: int, p: int) -> "RsaKey":
        """The key of modulus `n` of which `p` is a prime (43.1).

        TPM_RC_BINDING unless p divides n and both primes are odd and of half its length.
        """
        if p == 0 or n % p:
            raise TpmError(RC.BINDING)
        q = n // p
        if (
            not p & q & 1
            or 2 * p.bit_length() != n.bit_length()
            or p.bit_length() != q.bit_length()
        ):
            raise TpmError(RC.BINDING)
        return cls(p, q, e)

    def apply(self, block: bytes, entropy: Entropy) -> bytes:
        """RSADP: `block` to the power d (43.3).

        Raises TPM_RC_VALUE unless `block` is below the modulus, TPM_RC_BINDING if the result
        does not verify with the public exponent.
        """
        n, e = self.public.n, self.public.e
        value = int.from_bytes(block, "big")
        if value >= n:
            raise TpmError(RC.VALUE)
        factor, unfactor = self._blinding(entropy)
        blinded = value * gmpy2.powmod(factor, e, n) % n
        m_p = gmpy2.powmod_sec(blinded, self._d_p, self.p)
        m_q = gmpy2.powmod_sec(blinded, self._d_q, self.q)
        result = m_q + self.q * ((m_p - m_q) * self._q_inverse % self.p)
        if gmpy2.powmod(result, e, n) != blinded:
            raise TpmError(RC.BINDING)
        return int(result * unfactor % n).to_bytes(self.public.size, "big")

    def _blinding(self, entropy: Entropy) -> tuple[mpz, mpz]:
        n = self.public.n
        while True:
            factor = mpz(int.from_bytes(entropy(self.public.size + _BLINDING_MARGIN), "big") % n)
            if gmpy2.gcd(factor, n) == 1:
                return factor, gmpy2.invert(factor, n)

    @cached_property
    def library_key(self) -> RSAPrivateKey:
        """The key as OpenSSL takes it. TPM_RC_BINDING if it does not take it."""
        d = gmpy2.invert(self.public.e, gmpy2.lcm(self.p - 1, self.q - 1))
        numbers = RSAPrivateNumbers(
            self.p,
            self.q,
            int(d),
            int(self._d_p),
            int(self._d_q),
            int(self._q_inverse),
            RSAPublicNumbers(self.public.e, self.public.n),
        )
        try:
            return numbers.private_key(unsafe_skip_rsa_key_validation=True)
        except ValueError:
            raise TpmError(RC.BINDING) from None


class _Fresh:
    """Random octets in the shape the prime search draws from."""

    def __init__(self, entropy: Entropy) -> None:
        self.generate = entropy

    def integer(self, bits: int) -> int:
        return int.from_bytes(self.generate((bits + 7) // 8), "big") & (1 << bits) - 1


def generate(bits: int, e: int, entropy: Entropy, should_stop: ShouldStop) -> RsaKey:
    """A fresh key of `bits` with exponent `e` (43.8). TPM_RC_CANCELED if stopped.

    OpenSSL's generator is not used: it is no faster, can't be stopped and only takes two exponents.
    """
    q, p = prime_pair(bits, e, _Fresh(entropy), LEVEL, should_stop)
    return RsaKey(p, q, e)
