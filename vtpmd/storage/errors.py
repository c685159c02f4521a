"""What can go wrong with stored state; each error says what a person can do about it."""

from typing import Literal
from uuid import UUID

EnvelopeKind = Literal["damaged", "truncated", "newer", "wrong-instance", "wrong-key"]
StorageKind = Literal["missing", "exists", "full", "unsafe", "locked", "failed"]


class EnvelopeError(Exception):
    """An envelope is refused; the file it came from is left as it is.

    `kind`: `damaged` and `truncated` ask for a backup, `newer` for a newer vtpmd,
    `wrong-instance` for the right file, `wrong-key` for the right DEK.
    """

    def __init__(self, kind: EnvelopeKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def damaged(reason: str) -> EnvelopeError:
    """The EnvelopeError for state that nobody wrote like that."""
    return EnvelopeError(
        "damaged", f"the state file is damaged: {reason}; restore it from a backup"
    )


def truncated(reason: str) -> EnvelopeError:
    """The EnvelopeError for state whose end is missing."""
    return EnvelopeError(
        "truncated", f"the state file is truncated: {reason}; restore it from a backup"
    )


def outdated(reason: str) -> EnvelopeError:
    """The EnvelopeError for state in the layout of a vtpmd that was never released."""
    return EnvelopeError(
        "damaged",
        "the state is in the layout of an unreleased vtpmd, which this one does not read: "
        f"{reason}; use the vtpmd that wrote it, or delete the instance and create it anew",
    )


def newer(version: int, known: int) -> EnvelopeError:
    """The EnvelopeError for state of a format `version` above the `known` one."""
    return EnvelopeError(
        "newer",
        f"the state file has format version {version}, this vtpmd reads {known} and "
        "older: start it with the newer vtpmd that wrote it",
    )


def wrong_instance(owner: UUID, here: UUID) -> EnvelopeError:
    """The EnvelopeError for state of instance `owner` where that of `here` belongs."""
    return EnvelopeError(
        "wrong-instance",
        f"the state file belongs to instance {owner}, not to {here}: "
        "put each file back into the directory of its own instance",
    )


class StorageError(Exception):
    """The file system refused, or what it holds cannot be trusted.

    `kind`: `missing` no such file; `exists` it is there already; `full` no space, quota or
    size limit; `unsafe` not a regular file of ours; `locked` another process holds it;
    `failed` anything else, fsync included: the change may or may not survive a power cut.
    """

    def __init__(self, kind: StorageKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class DirectoryLockedError(StorageError):
    """Another process holds the state directory; `pid` is its process id where known."""

    def __init__(self, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(
            "locked",
            f"the state directory is in use by {holder}: "
            "stop that vtpmd first, or give this one a directory of its own",
        )
        self.pid = pid
