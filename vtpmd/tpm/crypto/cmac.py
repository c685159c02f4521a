"""CMAC with a state that can be saved between commands (SP 800-38B; Part 1, 8.4.2)."""

from .kdf import xor
from .symmetric import (
    BLOCK_SIZE,
    CIPHERS,
    cbc_encrypt,
    ecb_encrypt,
)

_HEADER = 4
_POLYNOMIAL = 0x87
_MASK = (1 << BLOCK_SIZE * 8) - 1


class Cmac:
    """CMAC under block cipher `alg`; the key is part of the state."""

    def __init__(self, alg: int, key: bytes) -> None:
        self._alg = alg
        self._key = key
        self._chain = bytes(BLOCK_SIZE)
        self._pending = b""

    def update(self, data: bytes) -> None:
        """Add `data`. The last block, even a full one, is held back: it is treated differently."""
        pending = self._pending + data
        keep = (len(pending) - 1) % BLOCK_SIZE + 1 if pending else 0
        whole = pending[: len(pending) - keep]
        if whole:
            self._chain = cbc_encrypt(self._alg, self._key, self._chain, whole)[-BLOCK_SIZE:]
        self._pending = pending[len(whole) :]

    def digest(self) -> bytes:
        """The MAC of everything added so far, one block; more data may follow."""
        subkey = _double(ecb_encrypt(self._alg, self._key, bytes(BLOCK_SIZE)))
        last = self._pending
        if len(last) < BLOCK_SIZE:
            subkey = _double(subkey)
            last += b"\x80" + bytes(BLOCK_SIZE - 1 - len(last))
        return cbc_encrypt(self._alg, self._key, self._chain, xor(last, subkey))

    def save(self) -> bytes:
        """The state, which includes the key and so has to be kept secret."""
        header = self._alg.to_bytes(2, "big") + len(self._key).to_bytes(2, "big")
        return header + self._key + self._chain + self._pending

    @classmethod
    def restore(cls, saved: bytes) -> "Cmac":
        """The object `save` was called on. ValueError if `saved` cannot be a state."""
        alg, size = int.from_bytes(saved[:2], "big"), int.from_bytes(saved[2:_HEADER], "big")
        key, state = saved[_HEADER : _HEADER + size], saved[_HEADER + size :]
        suits = alg in CIPHERS and len(key) * 8 in CIPHERS[alg].key_bits
        if not suits or not BLOCK_SIZE <= len(state) <= 2 * BLOCK_SIZE:
            raise ValueError("not a CMAC state")
        mac = cls(alg, key)
        mac._chain, mac._pending = state[:BLOCK_SIZE], state[BLOCK_SIZE:]
        return mac


def _double(block: bytes) -> bytes:
    value = int.from_bytes(block, "big") << 1
    if value > _MASK:
        value = value & _MASK ^ _POLYNOMIAL
    return value.to_bytes(BLOCK_SIZE, "big")
