"""The outer wrapper of what a TPM gives away encrypted (Part 1, 19.4 and 19.5)."""

from typing import NamedTuple

from . import symmetric
from .hashes import digest_size, hmac
from .kdf import kdfa


class Protector(NamedTuple):
    """What a storage key contributes: its nameAlg and its block cipher, whose mode is CFB."""

    name_alg: int
    cipher: int
    key_bits: int


def encrypt(protector: Protector, name: bytes, seed: bytes, iv: bytes, plain: bytes) -> bytes:
    """Encrypt for the object with this Name; an empty `iv` stands for zeros (19.4)."""
    key = _storage_key(protector, name, seed)
    return symmetric.cfb_encrypt(protector.cipher, key, iv or _no_iv(protector), plain)


def decrypt(protector: Protector, name: bytes, seed: bytes, iv: bytes, encrypted: bytes) -> bytes:
    """The inverse of `encrypt`."""
    key = _storage_key(protector, name, seed)
    return symmetric.cfb_decrypt(protector.cipher, key, iv or _no_iv(protector), encrypted)


def integrity(protector: Protector, name: bytes, seed: bytes, encrypted: bytes) -> bytes:
    """The HMAC over what is encrypted and the Name (19.5)."""
    alg = protector.name_alg
    key = kdfa(alg, seed, b"INTEGRITY", b"", b"", digest_size(alg) * 8)
    return hmac(alg, key, encrypted, name)


def _storage_key(protector: Protector, name: bytes, seed: bytes) -> bytes:
    return kdfa(protector.name_alg, seed, b"STORAGE", name, b"", protector.key_bits)


def _no_iv(protector: Protector) -> bytes:
    return bytes(symmetric.block_size(protector.cipher))
