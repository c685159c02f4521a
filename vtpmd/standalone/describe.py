"""What libvirt and tests ask before they start an emulator: its abilities, and stored states."""

import os
from pathlib import Path

from vtpmd import __version__
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.files import open_directory
from vtpmd.storage.record import Role
from vtpmd.storage.state_files import stored_size
from vtpmd.tpm.engine import rsa_key_sizes

_STATES: dict[Role, str] = {"nvram": "permall", "volatile": "volatilestate"}
_FEATURES = (
    "tpm-2.0",
    "tpm-send-command-header",
    "flags-opt-startup",
    "flags-opt-disable-auto-shutdown",
    "ctrl-opt-terminate",
    "cmdarg-seccomp",
    "cmdarg-print-states",
    "nvram-backend-dir",
    "tpmstate-opt-lock",
)


def capabilities() -> dict[str, object]:
    """The object of `--print-capabilities`; its type is that of what we stand in for."""
    rsa = [f"rsa-keysize-{bits}" for bits in rsa_key_sizes()]
    return {"type": "swtpm", "features": [*_FEATURES, *rsa], "version": __version__}


def states(directory: Path) -> dict[str, object]:
    """The object of `--print-states`, in swtpm's words."""
    sizes = {word: _size(directory, role) for role, word in _STATES.items()}
    found = [{"name": word, "size": size} for word, size in sizes.items() if size is not None]
    return {"type": "swtpm", "states": found}


def _size(directory: Path, role: Role) -> int | None:
    """How many octets a state has, None without one.

    One that can't be read is one, as large as its file: nothing may be made in its place.
    """
    try:
        directory_fd = open_directory(directory, group_may_write=True)
        try:
            return stored_size(directory_fd, role)
        finally:
            os.close(directory_fd)
    except (EnvelopeError, StorageError):
        path = directory / role
        return path.lstat().st_size if os.path.lexists(path) else None
