"""Wrapping of DEKs with AES-256-GCM: a random IV, the encrypted DEK, the tag."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vtpmd.storage.envelope import DEK_SIZE

ALGORITHM = "A256GCM"
IV_SIZE = 12
TAG_SIZE = 16
WRAPPED_SIZE = IV_SIZE + DEK_SIZE + TAG_SIZE


class NotOpened(Exception):
    """The bytes were not wrapped under this KEK for this purpose, or are damaged."""


def wrap(kek: bytes | bytearray, dek: bytes | bytearray, aad: bytes) -> bytes:
    """Wrap ``dek`` (32 bytes) under ``kek`` (32 bytes), bound to ``aad``."""
    iv = os.urandom(IV_SIZE)
    return iv + AESGCM(kek).encrypt(iv, dek, aad)


def unwrap(kek: bytes | bytearray, wrapped: bytes, aad: bytes) -> bytearray:
    """Return the DEK that ``wrap`` got, for the caller to wipe. Raises NotOpened."""
    if len(wrapped) != WRAPPED_SIZE:
        raise NotOpened
    dek = bytearray(DEK_SIZE)
    try:
        AESGCM(kek).decrypt_into(wrapped[:IV_SIZE], wrapped[IV_SIZE:], aad, dek)
    except InvalidTag:
        raise NotOpened from None
    return dek
