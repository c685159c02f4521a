"""Which instances need which key provider; a daemon may be running meanwhile."""

import os
from pathlib import Path

from vtpmd.storage.directory import INSTANCES
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.files import open_directory, read_file

from .instance_directory import META, sealed_state
from .metadata import MAX_PUBLIC_FILE, Metadata, MetadataError


def providers_in_use(state_dir: Path) -> dict[str, list[str]]:
    """Key provider -> names of the instances whose key it holds; empty without a state directory.

    Changes nothing. An instance that cannot be read is left out: starting it tells why. Raises
    StorageError for a state directory that cannot be read at all.
    """
    try:
        root = open_directory(state_dir / INSTANCES)
    except StorageError as error:
        if error.kind == "missing":
            return {}
        raise
    users: dict[str, list[str]] = {}
    try:
        for directory in sorted(os.listdir(root)):  # noqa: PTH208
            try:
                name, providers = _read(directory, root)
            except (EnvelopeError, MetadataError, StorageError):
                continue
            for provider in providers:
                users.setdefault(provider, []).append(name)
    finally:
        os.close(root)
    return users


def _read(directory: str, root: int) -> tuple[str, list[str]]:
    fd = open_directory(directory, root)
    try:
        metadata = Metadata.decode(read_file(META, MAX_PUBLIC_FILE, dir_fd=fd))
        envelope, _ = sealed_state(fd, metadata.uuid)
    finally:
        os.close(fd)
    return metadata.name, sorted({slot.provider for slot in envelope.slots})
