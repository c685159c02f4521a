"""The key provider `local`: KEKs in a keyring on this host, see `keys`."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import trio

from vtpmd.storage.slot import Slot

from ..provider import KeyBackup, KeyContext, NotErased
from .keys import LocalKeys


class LocalProvider:
    """`LocalKeys` in threads, since files may be slow.

    `keyring` is the file; if `credential` exists, it is used instead.
    """

    type = LocalKeys.type

    def __init__(
        self,
        name: str,
        keyring: Path,
        credential: Path | None = None,
        require_backup: bool = False,
    ) -> None:
        self.name = name
        self._keys = LocalKeys(name, keyring, credential, require_backup)
        self._change = trio.Lock()

    def __repr__(self) -> str:
        return f"LocalProvider({self.name!r}, {str(self._keys.keyring)!r})"

    async def initialise(self) -> str | None:
        """Create the keyring file if there is neither file nor credential."""
        return await trio.to_thread.run_sync(self._keys.create)

    async def wrap(self, dek: bytes | bytearray, context: KeyContext) -> Slot:
        """Wrap under the active KEK."""
        return await trio.to_thread.run_sync(self._keys.wrap, dek, context)

    async def unwrap(self, slot: Slot, context: KeyContext) -> bytearray:
        """Unwrap with the KEK version that the slot names."""
        return await trio.to_thread.run_sync(self._keys.unwrap, slot, context)

    async def rewrap(self, slot: Slot, context: KeyContext) -> Slot:
        """Unwrap, and wrap under the active KEK."""
        return await trio.to_thread.run_sync(self._keys.rewrap, slot, context)

    async def destroy(self, slot: Slot, context: KeyContext) -> NotErased:
        """Destroy nothing: all instances share the KEKs of a keyring."""
        return NotErased.shared(self.name)

    async def describe(self) -> dict[str, Any]:
        """Name, type, where the keyring is, and its versions without their keys."""
        return await trio.to_thread.run_sync(self._keys.describe)

    async def check(self) -> None:
        """Raise KeyUnavailableError unless the keyring can be read and its active KEK may wrap."""
        await trio.to_thread.run_sync(self._keys.check)

    async def aclose(self) -> None:
        """Close nothing: no file stays open."""

    async def rotate(self) -> str:
        """Add a new active KEK to the keyring file. Raises as `LocalKeys.rotate`."""
        async with self._change:
            return await trio.to_thread.run_sync(self._keys.rotate)

    async def backup(self, passphrase: str) -> KeyBackup:
        """Return the keyring encrypted under the passphrase. Raises KeyProviderError."""
        return await trio.to_thread.run_sync(self._keys.backup, passphrase)

    async def note_backup(self, versions: Collection[str]) -> None:
        """Record that these versions are saved elsewhere. Raises KeyProviderError."""
        async with self._change:
            await trio.to_thread.run_sync(self._keys.note_backup, versions)

    async def restore(self, data: bytes, passphrase: str) -> int:
        """Add the versions of a backup. Raises as `LocalKeys.restore`."""
        async with self._change:
            return await trio.to_thread.run_sync(self._keys.restore, data, passphrase)
