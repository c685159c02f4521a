"""Block ciphers AES and Camellia in the five TPM modes (Part 1, 8.4.7).

Modes are chained over ECB and CBC of the library where it lacks a mode (Camellia-CTR) or does not
tell the chaining value; the value returned as `iv_out` continues the stream in a later call.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.algorithms import Camellia
from cryptography.hazmat.decrepit.ciphers.modes import CFB, OFB
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

from ..wire.constants import ALG
from .kdf import xor

BLOCK_SIZE = 16
"""Octets of a block, the same for every cipher and key size here."""

WHOLE_BLOCKS = (ALG.CBC, ALG.ECB)
"""The modes that don't accept a partial block."""


@dataclass(frozen=True, slots=True)
class BlockCipher:
    """A block cipher with blocks of `BLOCK_SIZE`; `library` makes it of a key."""

    alg: int
    library: Callable[[bytes], BlockCipherAlgorithm]
    key_bits: frozenset[int]


CIPHERS: dict[int, BlockCipher] = {
    cipher.alg: cipher
    for cipher in (
        BlockCipher(ALG.AES, AES, frozenset({128, 192, 256})),
        BlockCipher(ALG.CAMELLIA, Camellia, frozenset({128, 192, 256})),
    )
}
"""Every block cipher that is implemented."""


def block_size(alg: int) -> int:
    """Octets of a block of `alg`; 0 if it is not an implemented block cipher."""
    return BLOCK_SIZE if alg in CIPHERS else 0


def encrypt(alg: int, key: bytes, mode: int, iv: bytes, data: bytes) -> tuple[bytes, bytes]:
    """(ciphertext, iv_out) as TPM2_EncryptDecrypt2 returns them (Part 3, 15.3).

    `iv` is one block, empty for ECB; `data` is whole blocks for the modes of `WHOLE_BLOCKS`.
    ValueError otherwise.
    """
    return _transform(alg, key, mode, iv, data, encrypting=True)


def decrypt(alg: int, key: bytes, mode: int, iv: bytes, data: bytes) -> tuple[bytes, bytes]:
    """(plaintext, iv_out): the inverse of `encrypt`, with the same conditions."""
    return _transform(alg, key, mode, iv, data, encrypting=False)


def cfb_encrypt(alg: int, key: bytes, iv: bytes, data: bytes) -> bytes:
    """CFB with full-block feedback, as used for parameters and protected objects."""
    return Cipher(CIPHERS[alg].library(key), CFB(iv)).encryptor().update(data)


def cfb_decrypt(alg: int, key: bytes, iv: bytes, data: bytes) -> bytes:
    """The inverse of `cfb_encrypt`."""
    return Cipher(CIPHERS[alg].library(key), CFB(iv)).decryptor().update(data)


def ecb_encrypt(alg: int, key: bytes, blocks: bytes) -> bytes:
    """Every block encrypted on its own; `blocks` is whole blocks."""
    return Cipher(CIPHERS[alg].library(key), ECB()).encryptor().update(blocks)


def cbc_encrypt(alg: int, key: bytes, iv: bytes, blocks: bytes) -> bytes:
    """Blocks chained from `iv`; `blocks` is whole blocks."""
    return Cipher(CIPHERS[alg].library(key), CBC(iv)).encryptor().update(blocks)


def _transform(
    alg: int, key: bytes, mode: int, iv: bytes, data: bytes, *, encrypting: bool
) -> tuple[bytes, bytes]:
    if len(iv) != (0 if mode == ALG.ECB else BLOCK_SIZE):
        raise ValueError("IV of the wrong size")
    if mode in WHOLE_BLOCKS and len(data) % BLOCK_SIZE:
        raise ValueError("no whole blocks")
    if not data:
        return b"", iv
    if mode == ALG.CTR:
        return _ctr(alg, key, iv, data)
    if mode == ALG.OFB:
        return _ofb(alg, key, iv, data)
    if mode == ALG.CFB:
        out = (cfb_encrypt if encrypting else cfb_decrypt)(alg, key, iv, data)
        return out, _cfb_iv(alg, key, iv, out if encrypting else data)
    cipher = Cipher(CIPHERS[alg].library(key), CBC(iv) if mode == ALG.CBC else ECB())
    out = (cipher.encryptor() if encrypting else cipher.decryptor()).update(data)
    if mode == ALG.CBC:
        return out, (out if encrypting else data)[-BLOCK_SIZE:]
    return out, b""


def _cfb_iv(alg: int, key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    """The last block; like libtpms, complete a partial one with its key stream."""
    partial = len(ciphertext) % BLOCK_SIZE
    if not partial:
        return ciphertext[-BLOCK_SIZE:]
    previous = (iv + ciphertext)[-partial - BLOCK_SIZE : -partial]
    return ciphertext[-partial:] + ecb_encrypt(alg, key, previous)[partial:]


def _ctr(alg: int, key: bytes, iv: bytes, data: bytes) -> tuple[bytes, bytes]:
    start, count = int.from_bytes(iv, "big"), -(-len(data) // BLOCK_SIZE)
    counters = b"".join(_counter_block(start + i) for i in range(count))
    stream = ecb_encrypt(alg, key, counters)[: len(data)]
    return xor(data, stream), _counter_block(start + count)


def _counter_block(value: int) -> bytes:
    return (value & (1 << BLOCK_SIZE * 8) - 1).to_bytes(BLOCK_SIZE, "big")


def _ofb(alg: int, key: bytes, iv: bytes, data: bytes) -> tuple[bytes, bytes]:
    whole = bytes(-(-len(data) // BLOCK_SIZE) * BLOCK_SIZE)
    stream = Cipher(CIPHERS[alg].library(key), OFB(iv)).encryptor().update(whole)
    return xor(data, stream[: len(data)]), stream[-BLOCK_SIZE:]
