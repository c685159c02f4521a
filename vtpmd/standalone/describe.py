"""What libvirt and tests ask before they start an emulator: its abilities, and stored states."""

from pathlib import Path

from vtpmd import __version__
from vtpmd.storage.directory import NVRAM, VOLATILE
from vtpmd.tpm.engine import rsa_key_sizes

FOREIGN_STATE = ("tpm2-00.permall", "tpm-00.permall")
"""The files in which swtpm keeps permanent state."""

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
    names = {NVRAM: "permall", VOLATILE: "volatilestate"}
    found = [word for name, word in names.items() if (directory / name).is_file()]
    return {"type": "swtpm", "states": found}
