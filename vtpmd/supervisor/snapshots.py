"""The snapshots of an instance: a bundle each, in the directory `snapshots` beside its state.

All of this blocks on the disk, and raises StorageError.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from vtpmd.api.names import MAX_BUNDLE, NAME_PATTERN
from vtpmd.storage.atomic import create_file, remove_file
from vtpmd.storage.directory import make_directory
from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import open_directory, read_file

from .instance_directory import SNAPSHOTS
from .registry import Registry

MAX_SNAPSHOTS = 16
"""How many an instance may have; each has at most MAX_BUNDLE octets."""
_SUFFIX = ".tar"


class TooManyError(StorageError):
    """There are MAX_SNAPSHOTS already."""

    def __init__(self) -> None:
        super().__init__("full", f"there are {MAX_SNAPSHOTS} snapshots already: delete one first")


def add(registry: Registry, uuid: UUID, name: str, bundle: bytes) -> None:
    """Store a snapshot durably. Raises StorageError, `exists` for a name that is taken."""
    with registry.directory(uuid) as instance, suppress(StorageError):
        os.close(make_directory(SNAPSHOTS, instance))
    with _opened(registry, uuid) as directory:
        if len(_names(directory)) >= MAX_SNAPSHOTS:
            raise TooManyError
        create_file(directory, name + _SUFFIX, bundle)


def names(registry: Registry, uuid: UUID) -> list[str]:
    """The names of the snapshots, sorted."""
    try:
        with _opened(registry, uuid) as directory:
            return _names(directory)
    except StorageError as error:
        if error.kind == "missing":
            return []
        raise


def read(registry: Registry, uuid: UUID, name: str) -> bytes:
    """The bundle of one. Raises StorageError, `missing` if there is none of this name."""
    with _opened(registry, uuid) as directory:
        return read_file(name + _SUFFIX, MAX_BUNDLE, dir_fd=directory)


def remove(registry: Registry, uuid: UUID, name: str) -> None:
    """Remove one durably. Raises StorageError, `missing` if there is none of this name."""
    with _opened(registry, uuid) as directory:
        if name not in _names(directory):
            raise StorageError("missing", f"there is no snapshot {name}")
        remove_file(directory, name + _SUFFIX)


def _names(directory: int) -> list[str]:
    found = sorted(os.listdir(directory))
    matches = (re.fullmatch(f"({NAME_PATTERN}){re.escape(_SUFFIX)}", each) for each in found)
    return [match[1] for match in matches if match]


@contextmanager
def _opened(registry: Registry, uuid: UUID) -> Iterator[int]:
    with registry.directory(uuid) as instance:
        directory = open_directory(SNAPSHOTS, instance)
        try:
            yield directory
        finally:
            os.close(directory)
