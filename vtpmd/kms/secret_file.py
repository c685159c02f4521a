"""Files that other users must not read: keyrings, private keys, tokens, PINs."""

import os
from pathlib import Path

from vtpmd.storage.files import read_file

_OTHERS_MAY_READ = 0o077
# systemd grants the service's user access to a credential by an access control list, which the mode
# shows as readable by the group.
_OTHERS_MAY_READ_CREDENTIAL = 0o037


def credentials_directory() -> Path | None:
    """The directory with the systemd credentials of this service, if it has any."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(directory) if directory else None


def is_credential(path: Path) -> bool:
    """Whether the file is one of the credentials of this service."""
    return path.parent == credentials_directory()


def read_secret(path: Path, limit: int, credential: bool) -> bytes:
    """Return the content of a regular file of at most `limit` octets.

    Raises StorageError: `missing`; `unsafe` if it is a symbolic link or not a regular file,
    belongs to neither this user nor root, may be used by others, or is too large. The group may
    read a `credential`.
    """
    forbidden = _OTHERS_MAY_READ_CREDENTIAL if credential else _OTHERS_MAY_READ
    return read_file(path, limit, forbidden=forbidden)
