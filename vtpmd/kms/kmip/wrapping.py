"""Two ways to use a KEK of a KMIP server; each can unwrap what the other has wrapped."""

import os
from typing import Literal, Protocol

from vtpmd.storage.envelope import DEK_SIZE
from vtpmd.storage.wipe import wipe

from .. import gcm
from ..errors import NotOpenedError
from . import operations
from .client import Client
from .constants import Operation
from .messages import OperationFailedError

Mode = Literal["get", "encrypt"]


class Wrapping(Protocol):
    """Wraps DEKs under the key that the server calls `key`.

    Methods raise OperationFailedError and KeyUnavailableError, `unwrap` also NotOpenedError.
    """

    needs: frozenset[Operation]
    """What the server must be able to do."""
    sensitive: bool
    """Whether keys made for it stay at the server."""

    async def wrap(self, key: str, dek: bytes | bytearray, aad: bytes) -> bytes:
        """As `gcm.wrap` with that key."""

    async def unwrap(self, key: str, wrapped: bytes, aad: bytes) -> bytearray:
        """As `gcm.unwrap` with that key."""


class Fetching:
    """Fetches the KEK, uses it and wipes it, which works with every KMIP server."""

    needs = frozenset({Operation.GET})
    sensitive = False

    def __init__(self, client: Client) -> None:
        self._client = client

    async def wrap(self, key: str, dek: bytes | bytearray, aad: bytes) -> bytes:
        """Wrap here."""
        kek = await self._client.call(operations.get(key))
        try:
            return gcm.wrap(kek, dek, aad)
        finally:
            wipe(kek)

    async def unwrap(self, key: str, wrapped: bytes, aad: bytes) -> bytearray:
        """Unwrap here."""
        kek = await self._client.call(operations.get(key))
        try:
            return gcm.unwrap(kek, wrapped, aad)
        finally:
            wipe(kek)


class Delegating:
    """Sends the DEK to the server, which wraps and unwraps it: the KEK never leaves it."""

    needs = frozenset({Operation.ENCRYPT, Operation.DECRYPT})
    sensitive = True

    def __init__(self, client: Client) -> None:
        self._client = client

    async def wrap(self, key: str, dek: bytes | bytearray, aad: bytes) -> bytes:
        """Have the server encrypt."""
        iv = os.urandom(gcm.IV_SIZE)
        return iv + await self._client.call(operations.encrypt(key, dek, iv, aad))

    async def unwrap(self, key: str, wrapped: bytes, aad: bytes) -> bytearray:
        """Have the server decrypt."""
        if len(wrapped) != gcm.WRAPPED_SIZE:
            raise NotOpenedError
        try:
            return await self._decrypt(key, wrapped, aad)
        except OperationFailedError:
            # Servers give different reasons for a wrong tag. A trial DEK, which must open, tells
            # whether the key or the wrapped DEK is the cause.
            trial = await self.wrap(key, bytes(DEK_SIZE), aad)
            await self._decrypt(key, trial, aad)
            raise NotOpenedError from None

    async def _decrypt(self, key: str, wrapped: bytes, aad: bytes) -> bytearray:
        iv, encrypted = wrapped[: gcm.IV_SIZE], wrapped[gcm.IV_SIZE :]
        return await self._client.call(operations.decrypt(key, encrypted, iv, aad))
