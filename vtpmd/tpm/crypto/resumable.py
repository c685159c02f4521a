"""Hashes and HMACs whose state can be saved and restored.

Until it is restored, a hash is computed by hashlib; a chaining value lags behind, and a buffer
holds the octets not yet folded into it. The buffer is bounded, so that neither memory nor the time
to save grows with what a guest sends: when it is full, every update folds as much as it adds.
"""

import hashlib
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Final, Protocol, Self

from .compression import SHAKE256, Compression
from .hashes import HASHES, digest, new
from .kdf import xor

MAX_LAG: Final = 64
"""Blocks that may wait to be folded: about 4 ms of work with SHA-2, three times that with SHA-3."""

SHAKE256_SIZE: Final = 64

_MAX_TOTAL = (1 << 61) - 1
_IPAD = b"\x36"
_OPAD = b"\x5c"


class _Live(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...
    def copy(self) -> Self: ...


class _Resumable:
    """A running digest; subclasses say of what function."""

    def __init__(
        self,
        compression: Compression,
        block_size: int,
        digest_size: int,
        start: Callable[[], _Live],
    ) -> None:
        self._compression = compression
        self._block_size = block_size
        self._digest_size = digest_size
        self._start = start
        self._live: _Live | None = start()
        self._chain = compression.initial
        self._waiting = bytearray()
        self._total = 0

    def update(self, data: bytes) -> None:
        """Add `data`."""
        if self._live is not None:
            self._live.update(data)
        self._total += len(data)
        self._waiting += data
        self._fold(len(self._waiting) - MAX_LAG * self._block_size)

    def digest(self) -> bytes:
        """The digest of everything added so far; more data may follow."""
        if self._live is not None:
            return self._live.digest()
        rest = bytes(self._waiting) + self._compression.pad(self._total)
        state = self._compression.fold(self._chain, rest)
        return self._compression.words.pack(*state)[: self._digest_size]

    def copy(self) -> Self:
        """One that goes on from here by itself."""
        duplicate = copy(self)
        duplicate._live = None if self._live is None else self._live.copy()
        duplicate._waiting = self._waiting[:]
        return duplicate

    def _saved(self) -> bytes:
        """The state: u64 total octets, chaining value, octets of the unfinished block."""
        self._fold(len(self._waiting) - len(self._waiting) % self._block_size)
        total = self._total.to_bytes(8, "big")
        return total + self._compression.words.pack(*self._chain) + self._waiting

    def _resume(self, saved: bytes) -> None:
        """Take over what `_saved` returned. ValueError if it cannot be that."""
        total = int.from_bytes(saved[:8], "big")
        rest = 8 + self._compression.words.size
        if total > _MAX_TOTAL or len(saved) != rest + total % self._block_size:
            raise ValueError("hash state of the wrong size")
        chain = self._compression.words.unpack(saved[8:rest])
        if total < self._block_size and chain != self._compression.initial:
            raise ValueError("hash state with data that was never added")
        self._chain, self._total = chain, total
        self._waiting[:] = saved[rest:]
        live = self._start()
        live.update(saved[rest:])
        self._live = live if total < self._block_size else None

    def _fold(self, size: int) -> None:
        """Fold at least `size` of the waiting octets, in whole blocks."""
        block = self._block_size
        size = min(-(-size // block), len(self._waiting) // block) * block
        if size > 0:
            self._chain = self._compression.fold(self._chain, bytes(self._waiting[:size]))
            del self._waiting[:size]


class ResumableHash(_Resumable):
    """A running digest of `alg`."""

    def __init__(self, alg: int) -> None:
        hash_ = HASHES[alg]
        super().__init__(hash_.compression, hash_.block_size, hash_.digest_size, partial(new, alg))
        self.alg = alg

    def save(self) -> bytes:
        """The state, after u16 alg."""
        return self.alg.to_bytes(2, "big") + self._saved()

    @classmethod
    def restore(cls, saved: bytes) -> "ResumableHash":
        """The hash that `save` was called on. ValueError if `saved` cannot be a state."""
        alg = int.from_bytes(saved[:2], "big")
        if alg not in HASHES:
            raise ValueError("not a hash state")
        restored = cls(alg)
        restored._resume(saved[2:])
        return restored


class _Shake256:
    """The first octets of SHAKE256."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._shake = hashlib.shake_256()

    def update(self, data: bytes, /) -> None:
        self._shake.update(data)

    def digest(self) -> bytes:
        return self._shake.digest(self._size)

    def copy(self) -> "_Shake256":
        duplicate = copy(self)
        duplicate._shake = self._shake.copy()
        return duplicate


class ResumableShake256(_Resumable):
    """A running SHAKE256 with less than a block of output: 64 octets for ML-DSA (FIPS 204, 3.7)."""

    def __init__(self, size: int = SHAKE256_SIZE) -> None:
        block_size = hashlib.shake_256().block_size
        super().__init__(SHAKE256, block_size, size, partial(_Shake256, size))

    def save(self) -> bytes:
        """The state, after u8 octets of output."""
        return self._digest_size.to_bytes(1) + self._saved()

    @classmethod
    def restore(cls, saved: bytes) -> "ResumableShake256":
        """The function that `save` was called on. ValueError if `saved` cannot be a state."""
        size = int.from_bytes(saved[:1])
        if not 0 < size < hashlib.shake_256().block_size:
            raise ValueError("not a state of SHAKE256")
        restored = cls(size)
        restored._resume(saved[1:])
        return restored


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

    def copy(self) -> "ResumableHmac":
        """One that goes on from here by itself."""
        duplicate = copy(self)
        duplicate._inner = self._inner.copy()
        return duplicate

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
