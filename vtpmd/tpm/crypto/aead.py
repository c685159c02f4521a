"""Authenticated encryption of what the TPM hands out for itself alone: AES-256-GCM."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_SIZE = 32
TAG_SIZE = 16


def seal(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
    """`data` encrypted, then the tag, which authenticates `associated`, too.

    No two calls may have the same `key` (KEY_SIZE octets) and `nonce` (8 to 128 octets).
    """
    return AESGCM(key).encrypt(nonce, data, associated)


def unseal(key: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes | None:
    """The inverse of `seal`; None if anything is not as it was sealed."""
    try:
        return AESGCM(key).decrypt(nonce, sealed, associated)
    except InvalidTag:
        return None
