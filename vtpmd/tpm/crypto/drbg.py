"""Deterministic generators: for primary keys and for derived objects.

`Drbg` is CTR_DRBG with AES-256 (SP 800-90A, 10.2.1) seeded through the derivation function of
libtpms, which differs from 10.3.2, so that the same primary seed gives the same keys there and
here. It is not a source of fresh randomness.
"""

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from .kdf import kdfa, xor

_BLOCK = 16
_KEY = 32
_SEED = _KEY + _BLOCK
_BITS = _BLOCK * 8
_COUNTER_MASK = (1 << _BITS) - 1
_CHAIN_NUMBERS = sum(i << 96 + _BITS * (2 - i) for i in range(_SEED // _BLOCK))
"""The first value of each of the three chains: its number, in four octets, and zeros."""
_EVERY_OTHER = 1 << 2 * _BITS | 1
"""Times a block: what it adds to the accumulators; that of the second chain has it twice."""
_DF_KEY = bytes(range(_KEY))


class Drbg:
    """CTR_DRBG-AES-256 over `seed material`; every generated octet is a function of it."""

    def __init__(self, *material: bytes) -> None:
        self._start(bytes(_SEED))
        self.reseed(*material)

    def reseed(self, *material: bytes) -> None:
        """Mix the concatenation of `material` into the state."""
        provided = derivation_function(b"".join(material))
        self._start(xor(self._stream(_SEED), provided))

    def generate(self, size: int) -> bytes:
        """The next `size` octets."""
        out = self._stream(size)
        self._start(self._stream(_SEED))
        return out

    def integer(self, bits: int) -> int:
        """A uniform number of at most `bits` bits, drawn big-endian."""
        return int.from_bytes(self.generate((bits + 7) // 8), "big") & (1 << bits) - 1

    def _start(self, state: bytes) -> None:
        self._encryptor: CipherContext = Cipher(AES(state[:_KEY]), ECB()).encryptor()
        self._v = int.from_bytes(state[_KEY:], "big")

    def _stream(self, size: int) -> bytes:
        v, count = self._v, -(-size // _BLOCK)
        counters = b"".join(
            (v + i & _COUNTER_MASK).to_bytes(_BLOCK, "big") for i in range(1, count + 1)
        )
        self._v = v + count & _COUNTER_MASK
        return self._encryptor.update(counters)[:size]


def derivation_function(data: bytes) -> bytes:
    """48 octets from `data` as libtpms condenses seed material.

    Unlike SP 800-90A, 10.3.2: the chains share one XOR accumulator, lengths enter through the first
    chain's value after the counters were absorbed, and there is no second encryption phase.
    """
    encryptor = Cipher(AES(_DF_KEY), ECB()).encryptor()

    def absorb(chains: int, block: int) -> int:
        # Each accumulator is the one before, XOR the chain's value, XOR the block.
        accumulators = chains ^ chains >> _BITS ^ chains >> 2 * _BITS ^ block * _EVERY_OTHER
        return int.from_bytes(encryptor.update(accumulators.to_bytes(_SEED)))

    chains = absorb(_CHAIN_NUMBERS, 0)
    lengths = len(data) << 32 | _SEED
    chains = chains & (1 << _SEED * 8 - 64) - 1 | lengths << _SEED * 8 - 64
    padded = bytes(4) + data + b"\x80"
    padded += bytes(-len(padded) % _BLOCK)
    for offset in range(0, len(padded), _BLOCK):
        chains = absorb(chains, int.from_bytes(padded[offset : offset + _BLOCK]))
    return chains.to_bytes(_SEED)


class KdfStream:
    """The generator of derived objects: a stream of KDFa blocks (Part 1, 25.4).

    `limit` is the total number of bits in the stream, and the `bits` of each KDFa.
    """

    def __init__(self, alg: int, seed: bytes, label: bytes, context: bytes, limit: int) -> None:
        self._left = kdfa(alg, seed, label, context, b"", limit)

    def generate(self, size: int) -> bytes:
        """The next `size` octets. ValueError when the limit is exceeded."""
        if size > len(self._left):
            raise ValueError("derivation limit exceeded")
        out, self._left = self._left[:size], self._left[size:]
        return out
