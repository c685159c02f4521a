"""A key provider for vtpmd: wraps DEKs with AES-256-GCM under a key that is in a file."""

from pathlib import Path
from typing import Any

import trio

from vtpmd.kms import gcm
from vtpmd.kms.errors import KeyRefusedError, KeyUnavailableError, NotOpenedError
from vtpmd.kms.provider import KeyContext, NotErased, new_slot
from vtpmd.kms.secret_file import is_credential, read_secret
from vtpmd.kms.settings import ProviderSettings, ReadFile
from vtpmd.storage.errors import StorageError
from vtpmd.storage.slot import Slot
from vtpmd.storage.wipe import wipe

KEK_SIZE = 32


class FileKeySettings(ProviderSettings):
    """Settings in vtpmd.yaml: `key_file` holds the KEK, 32 octets."""

    key_file: ReadFile

    def open(self, state_dir: Path) -> "FileKeyProvider":
        """Return the provider; the file is read when a key is needed."""
        return FileKeyProvider(self)


class FileKeyProvider:
    """Wraps the DEKs of all instances under the same KEK."""

    def __init__(self, settings: FileKeySettings) -> None:
        self.type = settings.type
        self.name = settings.name
        self._file = settings.key_file

    async def initialise(self) -> None:
        """Create nothing: the administrator makes the KEK."""

    async def wrap(self, dek: bytes | bytearray, context: KeyContext) -> Slot:
        """Encrypt the DEK, bound to its instance."""
        wrapped = gcm.wrap(await self._kek(), dek, context.aad())
        return new_slot(self, self._file.name, "", gcm.ALGORITHM, wrapped)

    async def unwrap(self, slot: Slot, context: KeyContext) -> bytearray:
        """Decrypt the DEK, which the caller wipes."""
        if (slot.provider_type, slot.algorithm) != (self.type, gcm.ALGORITHM):
            raise KeyRefusedError.foreign(self.name, slot)
        try:
            return gcm.unwrap(await self._kek(), slot.wrapped, context.aad())
        except NotOpenedError:
            raise KeyRefusedError.unopened(slot.key_ref, context.uuid) from None

    async def rewrap(self, slot: Slot, context: KeyContext) -> Slot:
        """Encrypt the same DEK anew."""
        dek = await self.unwrap(slot, context)
        try:
            return await self.wrap(dek, context)
        finally:
            wipe(dek)

    async def destroy(self, slot: Slot, context: KeyContext) -> NotErased:
        """Destroy nothing: other instances need the KEK."""
        return NotErased.shared(self.name)

    async def describe(self) -> dict[str, Any]:
        """What `vtpmctl provider` shows."""
        return {"name": self.name, "type": self.type, "key_file": str(self._file)}

    async def check(self) -> None:
        """Raise KeyUnavailableError if the KEK cannot be read."""
        await self._kek()

    async def aclose(self) -> None:
        """Close nothing: no file stays open."""

    async def _kek(self) -> bytes:
        credential = is_credential(self._file)
        try:
            kek = await trio.to_thread.run_sync(read_secret, self._file, KEK_SIZE, credential)
        except StorageError as error:
            raise KeyUnavailableError(str(error), retry=error.kind == "missing") from None
        if len(kek) != KEK_SIZE:
            raise KeyUnavailableError(f"{self._file} has not {KEK_SIZE} octets", retry=False)
        return kek
