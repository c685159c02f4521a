"""Files under swtpm's names: swtpm's own state, and the one by which its programs know of ours.

swtpm_setup makes a TPM anew, where it was asked to (`--overwrite`) or has failed to set one up, by
removing the files with swtpm's names before it starts a TPM. So we keep a file with such a name:
where a TPM is being set up and it is gone, our state is to make room for a new one. swtpm itself
refuses a directory with that file instead of taking it for an empty one.
"""

import os

from vtpmd.storage.atomic import create_file
from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import read_file, storage_error

_MARKER = "tpm2-00.permall"
_NAMES = (_MARKER, "tpm-00.permall")
_CONTENT = b"This TPM is one of vtpmd-swtpm: its state is in the file nvram.\n"
REPLACED = "nvram.replaced"
"""The permanent state of the TPM before, where a new one was asked for."""


def foreign_state(dir_fd: int) -> list[str]:
    """The files in which swtpm keeps permanent state."""
    return [name for name in _NAMES if _content(dir_fd, name) not in (None, _CONTENT)]


def mark(dir_fd: int) -> None:
    """Put our file there, if there is none. Raises StorageError."""
    try:
        create_file(dir_fd, _MARKER, _CONTENT)
    except StorageError as error:
        if error.kind != "exists":
            raise


def set_aside(dir_fd: int) -> bool:
    """Let permanent state whose mark was removed make room for that of a new TPM.

    Whether there was such state. It stays there as `REPLACED`. Raises StorageError.
    """
    if _content(dir_fd, _MARKER) is not None:
        return False
    try:
        os.replace("nvram", REPLACED, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        os.fsync(dir_fd)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_error("set the state aside", error) from None
    return True


def _content(dir_fd: int, name: str) -> bytes | None:
    """What is in a file as far as we care, None if it is missing."""
    try:
        return read_file(name, len(_CONTENT), dir_fd)
    except StorageError as error:
        return None if error.kind == "missing" else b""
