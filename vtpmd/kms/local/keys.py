"""DEKs wrapped under the KEKs of a keyring on this host: the local provider without trio.

The keyring is the systemd credential `kek` if the service has it, else a file of mode 0600. It is
read for every operation, so that no key is kept in memory and a restored keyring works at once.

It protects state that leaves the host. It does not protect against root on this host, nor against
theft of the disk unless the keyring is elsewhere (a credential sealed to the host's TPM).
"""

import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vtpmd.storage.atomic import create_file, write_file
from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import open_directory
from vtpmd.storage.slot import Slot
from vtpmd.storage.wipe import wipe

from .. import gcm
from ..errors import KeyProviderError, KeyRefusedError, KeyUnavailableError, NotOpenedError
from ..provider import KeyBackup, KeyContext, new_slot
from ..secret_file import read_secret
from ..words import printable
from . import TYPE
from .keyring import Keyring, KeyringError, parse
from .keyring_export import ExportError, export, import_

CREDENTIAL = "kek"
_MAX_KEYRING = 1 << 20


class LocalKeys:
    """Wraps DEKs with AES-256-GCM under the active KEK of a keyring.

    `keyring` is the file; if `credential` exists, it is used instead. `group_may_write`: into the
    directory of the file.
    With `require_backup` only a KEK that has been saved wraps; which those are is in the file
    `<keyring>.saved`, one id on each line.

    The methods read files and raise as `provider.KeyProvider` says.
    """

    type = TYPE

    def __init__(
        self,
        name: str,
        keyring: Path,
        credential: Path | None = None,
        require_backup: bool = False,
        group_may_write: bool = False,
    ) -> None:
        self.name = name
        self.keyring = keyring
        self._credential = credential
        self._require_backup = require_backup
        self._group_may_write = group_may_write

    def create(self) -> str | None:
        """Create the keyring file if there is neither file nor credential."""
        if os.path.lexists(self.keyring) or (
            self._credential is not None and os.path.lexists(self._credential)
        ):
            return None
        data = Keyring().rotated(int(time.time())).encode()
        try:
            with self._directory() as directory:
                create_file(directory, self.keyring.name, data)
        except StorageError as error:
            if error.kind == "exists":
                return None
            raise KeyUnavailableError(
                f"the keyring {self.keyring} cannot be created: {error}", retry=True
            ) from None
        return (
            f"created the keyring {self.keyring}: back it up now, to another place than the state "
            "directory; without it no TPM of this host can ever be opened again"
        )

    def wrap(self, dek: bytes | bytearray, context: KeyContext) -> Slot:
        """Wrap under the active KEK."""
        keyring, _ = self.load()
        return self._wrap(keyring, dek, context)

    def unwrap(self, slot: Slot, context: KeyContext) -> bytearray:
        """Unwrap with the KEK version that the slot names."""
        keyring, source = self.load()
        return self._unwrap(keyring, source, slot, context)

    def rewrap(self, slot: Slot, context: KeyContext) -> Slot:
        """Unwrap, and wrap under the active KEK."""
        keyring, source = self.load()
        dek = self._unwrap(keyring, source, slot, context)
        try:
            return self._wrap(keyring, dek, context)
        finally:
            wipe(dek)

    def describe(self) -> dict[str, Any]:
        """Name, type, where the keyring is, and its versions without their keys."""
        keyring, source = self.load()
        saved = self._saved()
        versions = [
            {
                "id": kek.id,
                "created": kek.created,
                "state": kek.state,
                "saved": kek.id in saved,
            }
            for kek in keyring.versions
        ]
        return {"name": self.name, "type": self.type, "keyring": str(source), "versions": versions}

    def rotate(self) -> str:
        """Add a new active KEK to the keyring file durably and return its id.

        Raises KeyUnavailableError; KeyProviderError if the keyring is a credential, which only the
        administrator can replace, or cannot be written. Slots keep the KEK they have until they
        are rewrapped.
        """
        self._demand_file("rotate")
        keyring, source = self.load()
        try:
            rotated = keyring.rotated(int(time.time()))
        except KeyringError as error:
            raise KeyProviderError(f"the keyring {source} cannot be rotated: {error}") from None
        self._write(source.name, rotated.encode())
        return rotated.active.id

    def backup(self, passphrase: str) -> KeyBackup:
        """Return the keyring encrypted under the passphrase. Raises KeyProviderError."""
        keyring, _ = self.load()
        try:
            data = export(keyring, passphrase)
        except ExportError as error:
            raise KeyProviderError(str(error)) from None
        return KeyBackup(data, tuple(version.id for version in keyring.versions))

    def note_backup(self, versions: Collection[str]) -> None:
        """Record durably that these versions are saved elsewhere. Raises KeyProviderError."""
        keyring, source = self.load()
        if unknown := set(versions) - {kek.id for kek in keyring.versions}:
            raise KeyProviderError(
                f"KEK {printable(min(unknown))} is not in the keyring {source}: "
                "what was saved is not what is in use"
            )
        lines = sorted(self._saved() | set(versions))
        self._write(self._record, "".join(f"{line}\n" for line in lines).encode())

    def restore(self, data: bytes, passphrase: str) -> int:
        """Add the versions of a backup to the keyring file durably and return how many were new.

        The active KEK stays the active one, if there is a keyring. Raises KeyProviderError, also if
        the keyring is a credential.
        """
        self._demand_file("restore")
        try:
            saved = import_(data, passphrase)
        except ExportError as error:
            raise KeyProviderError(f"the backup cannot be used: {error}") from None
        present = _read_if_there(self.keyring, credential=False)
        mine = Keyring() if present is None else _parsed(present, self.keyring)
        try:
            merged = mine.merged(saved) if present is not None else saved
        except KeyringError as error:
            raise KeyProviderError(f"the backup cannot be used: {error}") from None
        self._write(self.keyring.name, merged.encode())
        self.note_backup([version.id for version in saved.versions])
        return len(merged.versions) - len(mine.versions)

    def check(self) -> None:
        """Raise KeyUnavailableError unless `wrap` would work now."""
        keyring, _ = self.load()
        self._demand_backup(keyring)

    def _demand_file(self, action: str) -> None:
        """Raise KeyProviderError if the keyring is a credential, which is read-only."""
        if self._credential is not None and os.path.lexists(self._credential):
            raise KeyProviderError(
                f"the keyring {self._credential} is a credential of the service and read-only: "
                f"{action} the file it was made from"
            )

    def _demand_backup(self, keyring: Keyring) -> None:
        if self._require_backup and keyring.active.id not in self._saved():
            raise KeyUnavailableError(
                f"the active KEK {keyring.active.id} has not been saved yet, and require_backup is "
                f"set: save it with `vtpmctl provider backup {self.name} FILE`",
                retry=False,
            )

    def _saved(self) -> set[str]:
        content = _read_if_there(self.keyring.with_name(self._record), credential=False)
        return set((content or b"").decode(errors="replace").splitlines())

    @property
    def _record(self) -> str:
        return f"{self.keyring.name}.saved"

    def _write(self, name: str, content: bytes) -> None:
        path = self.keyring.with_name(name)
        try:
            with self._directory() as directory:
                write_file(directory, name, content)
        except StorageError as error:
            raise KeyProviderError(f"the keyring {path} cannot be written: {error}") from None

    @contextmanager
    def _directory(self) -> Iterator[int]:
        dir_fd = open_directory(self.keyring.parent, group_may_write=self._group_may_write)
        try:
            yield dir_fd
        finally:
            os.close(dir_fd)

    def load(self) -> tuple[Keyring, Path]:
        """The keyring, and the file it came from."""
        sources = [(self.keyring, False)]
        if self._credential is not None:
            sources.insert(0, (self._credential, True))
        for source, credential in sources:
            data = _read_if_there(source, credential)
            if data is not None:
                return _parsed(data, source), source
        raise KeyUnavailableError(
            f"the keyring {self.keyring} is missing: restore it from its backup", retry=True
        )

    def _wrap(self, keyring: Keyring, dek: bytes | bytearray, context: KeyContext) -> Slot:
        self._demand_backup(keyring)
        kek = keyring.active
        wrapped = gcm.wrap(kek.key, dek, context.aad())
        return new_slot(self, CREDENTIAL, kek.id, gcm.ALGORITHM, wrapped)

    def _unwrap(self, keyring: Keyring, source: Path, slot: Slot, context: KeyContext) -> bytearray:
        if (slot.provider_type, slot.algorithm) != (self.type, gcm.ALGORITHM):
            raise KeyRefusedError.foreign(self.name, slot)
        kek = keyring.find(slot.key_version)
        if kek is None:
            raise KeyUnavailableError(
                f"KEK {slot.key_version} is not in the keyring {source}, whose active KEK is "
                f"{keyring.active.id}: restore the keyring that has it",
                retry=False,
            )
        try:
            return gcm.unwrap(kek.key, slot.wrapped, context.aad())
        except NotOpenedError:
            raise KeyRefusedError.unopened(kek.id, context.uuid) from None


def _read_if_there(path: Path, credential: bool) -> bytes | None:
    try:
        return read_secret(path, _MAX_KEYRING, credential)
    except StorageError as error:
        if error.kind == "missing":
            return None
        raise KeyUnavailableError(
            f"the keyring cannot be used: {error}", retry=error.kind == "failed"
        ) from None


def _parsed(data: bytes, source: Path) -> Keyring:
    try:
        return parse(data)
    except KeyringError as error:
        raise KeyUnavailableError(
            f"the keyring {source} cannot be used, {error}; it was left as it is: "
            "restore it from its backup",
            retry=False,
        ) from None
