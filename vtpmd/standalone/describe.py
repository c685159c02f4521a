"""What libvirt and tests ask before they start an emulator: its abilities, and stored states."""

import os
from pathlib import Path

from vtpmd import __version__
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.files import open_directory
from vtpmd.storage.record import Role
from vtpmd.storage.state_files import stored_in
from vtpmd.tpm.engine import rsa_key_sizes

FOREIGN_STATE = ("tpm2-00.permall", "tpm-00.permall")
"""The files in which swtpm keeps permanent state."""

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
    found = [word for role, word in _STATES.items() if _is_stored(directory, role)]
    return {"type": "swtpm", "states": found}


def _is_stored(directory: Path, role: Role) -> bool:
    """Whether there is a state; one that can't be read is one: nothing may be made in its place."""
    try:
        directory_fd = open_directory(directory)
        try:
            return stored_in(directory_fd, role) is not None
        finally:
            os.close(directory_fd)
    except (EnvelopeError, StorageError):
        return os.path.lexists(directory / role)
