"""The certificates of an instance as files beside `meta.json`; all functions block on the disk.

    ek.pem         those that its TPM has in NV
    ek-next.pem    those that it is being given

A crash between NV and files leaves both files; what is in NV tells which of them holds
(`settle`). So there are always all the old ones or all the new ones.
"""

from collections.abc import Mapping
from uuid import UUID

from vtpmd.pki.certificates import Certificates
from vtpmd.storage.atomic import remove_file, write_file
from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import read_file

from .metadata import MAX_PUBLIC_FILE
from .registry import Registry

EK, NEXT = "ek.pem", "ek-next.pem"


def put(directory: int, certificates: Certificates) -> None:
    """Put certificates into an instance's open directory. Raises StorageError."""
    if certificates.leaves:
        write_file(directory, EK, certificates.pem)
    else:
        remove_file(directory, EK)


def put_unpublished(directory: int, certificates: Certificates) -> None:
    """The same in a prepared directory, which publishing makes durable. Raises StorageError."""
    if certificates.leaves:
        write_file(directory, EK, certificates.pem, durable_name=False)


def get(directory: int, name: str = EK) -> Certificates | None:
    """Those in a file of an instance's open directory, None without it.

    Raises StorageError, and RefusedError for a file that holds something else.
    """
    try:
        return Certificates.from_pem(read_file(name, MAX_PUBLIC_FILE, dir_fd=directory))
    except StorageError as error:
        if error.kind != "missing":
            raise
        return None


def stage(registry: Registry, uuid: UUID, certificates: Certificates) -> None:
    """Keep what a TPM is about to be given. Raises StorageError."""
    with registry.directory(uuid) as directory:
        write_file(directory, NEXT, certificates.pem)


def settle(
    registry: Registry, uuid: UUID, installed: Mapping[str, bytes] | None = None
) -> Certificates:
    """The certificates of an instance, after what `installed` in NV has decided between two files.

    `installed` is as `Certificates.digests`; None if it is not known, or if the instance is just
    being given others: then both files stay. Raises as `get`.
    """
    with registry.directory(uuid) as directory:
        current = get(directory) or Certificates()
        following = get(directory, NEXT)
        if following is None or installed is None:
            return current
        if following.digests == installed:
            put(directory, following)
            current = following
        elif current.digests != installed:
            return current  # neither: it is stale, and shown so
        remove_file(directory, NEXT)
        return current


def withdraw(registry: Registry, uuid: UUID) -> None:
    """Forget what a TPM was about to be given, because it refused. Raises StorageError."""
    with registry.directory(uuid) as directory:
        remove_file(directory, NEXT)
