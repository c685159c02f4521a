"""Wrapping of DEKs with AES-256-GCM: a random IV, the encrypted DEK, the tag."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vtpmd.storage.envelope import DEK_SIZE

from .errors import NotOpenedError

ALGORITHM = "A256GCM"
KEK_SIZE = 32
IV_SIZE = 12
TAG_SIZE = 16
WRAPPED_SIZE = IV_SIZE + DEK_SIZE + TAG_SIZE


def wrap(kek: bytes | bytearray, dek: bytes | bytearray, aad: bytes) -> bytes:
    """Wrap `dek` under `kek` (DEK_SIZE and KEK_SIZE octets), bound to `aad`."""
    iv = os.urandom(IV_SIZE)
    return iv + AESGCM(kek).encrypt(iv, dek, aad)


def unwrap(kek: bytes | bytearray, wrapped: bytes, aad: bytes) -> bytearray:
    """Return the DEK, which the caller wipes. Raises NotOpenedError."""
    if len(wrapped) != WRAPPED_SIZE:
        raise NotOpenedError
    dek = bytearray(DEK_SIZE)
    try:
        AESGCM(kek).decrypt_into(wrapped[:IV_SIZE], wrapped[IV_SIZE:], aad, dek)
    except InvalidTag:
        raise NotOpenedError from None
    return dek
