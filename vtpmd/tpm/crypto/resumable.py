"""Hashes and HMACs whose state can be saved and restored.

Until it is restored, a hash is computed by hashlib; a chaining value lags behind, and a buffer
holds the octets not yet folded into it. The buffer is bounded, so that neither memory nor the time
to save grows with what a guest sends: when it is full, every update folds as much as it adds.
"""

import hashlib
from typing import Final

from .hashes import HASHES, digest, new
from .kdf import xor

MAX_LAG: Final = 64
"""Blocks that may wait to be folded: about 4 ms of work with SHA-2, three times that with SHA-3."""

_MAX_TOTAL = (1 << 61) - 1
_HEADER = 10
_IPAD = b"\x36"
_OPAD = b"\x5c"


class ResumableHash:
    """A running digest of `alg`."""

    def __init__(self, alg: int) -> None:
        self.alg = alg
        self._compression = HASHES[alg].compression
        self._live: hashlib._Hash | None = new(alg)
        self._chain = self._compression.initial
        self._waiting = bytearray()
        self._total = 0

    def update(self, data: bytes) -> None:
        """Add `data`."""
        if self._live is not None:
            self._live.update(data)
        self._total += len(data)
        self._waiting += data
        self._fold(len(self._waiting) - MAX_LAG * HASHES[self.alg].block_size)

    def digest(self) -> bytes:
        """The digest of everything added so far; more data may follow."""
        if self._live is not None:
            return self._live.digest()
        rest = bytes(self._waiting) + self._compression.pad(self._total)
        state = self._compression.fold(self._chain, rest)
        return self._compression.words.pack(*state)[: HASHES[self.alg].digest_size]

    def save(self) -> bytes:
        """The state: u16 alg, u64 total octets, chaining value, octets of the unfinished block."""
        block = HASHES[self.alg].block_size
        self._fold(len(self._waiting) - len(self._waiting) % block)
        header = self.alg.to_bytes(2, "big") + self._total.to_bytes(8, "big")
        return header + self._compression.words.pack(*self._chain) + self._waiting

    @classmethod
    def restore(cls, saved: bytes) -> "ResumableHash":
        """The hash that `save` was called on. ValueError if `saved` cannot be a state."""
        alg = int.from_bytes(saved[:2], "big")
        total = int.from_bytes(saved[2:_HEADER], "big")
        if len(saved) < _HEADER or alg not in HASHES or total > _MAX_TOTAL:
            raise ValueError("not a hash state")
        compression, block = HASHES[alg].compression, HASHES[alg].block_size
        rest = _HEADER + compression.words.size
        if len(saved) != rest + total % block:
            raise ValueError("hash state of the wrong size")
        chain = compression.words.unpack(saved[_HEADER:rest])
        if total < block and chain != compression.initial:
            raise ValueError("hash state with data that was never added")
        restored = cls(alg)
        restored._chain, restored._total = chain, total
        restored._waiting += saved[rest:]
        live = new(alg)
        live.update(saved[rest:])
        restored._live = live if total < block else None
        return restored

    def _fold(self, size: int) -> None:
        """Fold at least `size` of the waiting octets, in whole blocks."""
        block = HASHES[self.alg].block_size
        size = min(-(-size // block), len(self._waiting) // block) * block
        if size > 0:
            self._chain = self._compression.fold(self._chain, bytes(self._waiting[:size]))
            del self._waiting[:size]


class ResumableHmac:
    """A running HMAC; the key is part of the state."""

    def __init__(self, alg: int, key: bytes) -> None:
        block = HASHES[alg].block_size
        self._key = (digest(alg, key) if len(key) > block else key).ljust(block, b"\0")
        self._inner = ResumableHash(alg)
        self._inner.update(xor(self._key, _IPAD * block))

    def update(self, data: bytes) -> None:
        """Add `data`."""
        self._inner.update(data)

    def digest(self) -> bytes:
        """The HMAC of everything added so far; more data may follow."""
        outer = xor(self._key, _OPAD * len(self._key))
        return digest(self._inner.alg, outer, self._inner.digest())

    def save(self) -> bytes:
        """The key and the state of the inner hash; it has to be kept secret."""
        return len(self._key).to_bytes(2, "big") + self._key + self._inner.save()

    @classmethod
    def restore(cls, saved: bytes) -> "ResumableHmac":
        """The HMAC that `save` was called on. ValueError if `saved` cannot be a state."""
        end = 2 + int.from_bytes(saved[:2], "big")
        inner = ResumableHash.restore(saved[end:])
        block = HASHES[inner.alg].block_size
        if end != 2 + block or inner._total < block:
            raise ValueError("not an HMAC state")
        restored = cls(inner.alg, saved[2:end])
        restored._inner = inner
        return restored
