"""Authenticated encryption of what the TPM hands out for itself alone: AES-256-GCM."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_SIZE = 32
TAG_SIZE = 16


class Aead:
    """AES-256-GCM under one key of KEY_SIZE octets."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        """`data` encrypted, then the tag, which authenticates `associated`, too.

        No two calls under one key may have the same `nonce` (8 to 128 octets).
        """
        return self._cipher.encrypt(nonce, data, associated)

    def unseal(self, nonce: bytes, sealed: bytes, associated: bytes) -> bytes | None:
        """The inverse of `seal`; None if anything is not as it was sealed."""
        try:
            return self._cipher.decrypt(nonce, sealed, associated)
        except InvalidTag:
            return None
