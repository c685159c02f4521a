"""Settings of key provider type `local`."""

from pathlib import Path

from vtpmd.storage.directory import KEYRING

from ..secret_file import credentials_directory
from ..settings import AbsolutePath, ProviderSettings
from .keys import CREDENTIAL
from .provider import LocalProvider


class LocalSettings(ProviderSettings):
    """A keyring on this host; `keyring` defaults to `<state_dir>/keyring`.

    With `require_backup` no key is wrapped before `vtpmctl provider backup` has saved the keyring.
    """

    keyring: AbsolutePath | None = None
    require_backup: bool = False

    def open(self, state_dir: Path) -> LocalProvider:
        """Return the provider; its credential is looked for in `$CREDENTIALS_DIRECTORY`."""
        directory = credentials_directory()
        credential = directory and directory / CREDENTIAL
        keyring = self.keyring or state_dir / KEYRING
        return LocalProvider(self.name, keyring, credential, self.require_backup)
