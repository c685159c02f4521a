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
_CHAINS = _SEED // _BLOCK
_COUNTER_MASK = (1 << _BLOCK * 8) - 1
_DF_KEY = bytes(range(_KEY))


class Drbg:
    """CTR_DRBG-AES-256 over `seed material`; every generated octet is a function of it."""

    def __init__(self, *material: bytes) -> None:
        self._start(bytes(_SEED))
        self.reseed(*material)

    def reseed(self, *material: bytes) -> None:
        """Mix the concatenation of `material` into the state."""
        self._update(derivation_function(b"".join(material)))

    def generate(self, size: int) -> bytes:
        """The next `size` octets."""
        out = self._stream(size)
        self._update(bytes(_SEED))
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

    def _update(self, provided: bytes) -> None:
        self._start(xor(self._stream(_SEED), provided))


def derivation_function(data: bytes) -> bytes:
    """48 octets from `data` as libtpms condenses seed material.

    Unlike SP 800-90A, 10.3.2: the chains share one XOR accumulator, lengths enter through the first
    chain's value after the counters were absorbed, and there is no second encryption phase.
    """
    encryptor = Cipher(AES(_DF_KEY), ECB()).encryptor()
    chains = [i.to_bytes(4, "big") + bytes(_BLOCK - 4) for i in range(_CHAINS)]

    def absorb(block: bytes) -> None:
        accumulator = bytes(_BLOCK)
        for i in range(_CHAINS):
            accumulator = xor(xor(accumulator, chains[i]), block)
            chains[i] = encryptor.update(accumulator)

    absorb(bytes(_BLOCK))
    lengths = len(data).to_bytes(4, "big") + _SEED.to_bytes(4, "big")
    chains[0] = lengths + chains[0][len(lengths) :]
    padded = bytes(4) + data + b"\x80"
    padded += bytes(-len(padded) % _BLOCK)
    for offset in range(0, len(padded), _BLOCK):
        absorb(padded[offset : offset + _BLOCK])
    return b"".join(chains)


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
