"""Making, opening and reading the state files of a directory: the part of whoever owns that.

A worker gets their descriptors, in the order of `ROLES`, and no directory.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import UUID

from .atomic import published, write_all
from .device import FileDevice
from .errors import StorageError
from .files import open_file
from .record import HEAD_SIZE, ROLES, Home, Record, Role, with_headroom
from .state_file import PLACE_SIZE, Loaded, StateFile, owner


def create_state_file(
    dir_fd: int,
    name: str,
    uuid: UUID,
    role: Role,
    content: bytes = b"",
    *,
    replace: bool = False,
    durable_name: bool = True,
) -> None:
    """Make state file `name` (mode 0600), empty or with `content` as its current record.

    Both places are written in full, with headroom, so that a save of about this size later
    overwrites what is allocated. The file gets its name when all of that is durable, and the
    function returns when the name is, too, unless `durable_name` is False.

    Raises StorageError `exists` unless it is to `replace` what is there, `full` or `failed`;
    ValueError for more than MAX_SIZE octets.
    """
    extent = min(with_headroom(HEAD_SIZE + len(content)), PLACE_SIZE)
    with published(dir_fd, name, replace=replace, durable_name=durable_name) as fd:
        _fill(fd, uuid, role, content, extent)


def state_files_in_memory(uuid: UUID, nvram: bytes) -> list[int]:
    """Descriptors of state files that are nowhere else, in the order of `ROLES`: the caller's."""
    fds = []
    for role in ROLES:
        fds.append(os.memfd_create(role))
        _fill(fds[-1], uuid, role, nvram if role == "nvram" else b"")
    return fds


def _fill(fd: int, uuid: UUID, role: Role, content: bytes, extent: int = 0) -> None:
    """Write both places, with `content` as the current record, each `extent` octets at least."""
    records = Record(Home(uuid, role, 0), 1, content), Record(Home(uuid, role, 1), 0, b"")
    for place, record in enumerate(records):
        write_all(fd, record.encode().ljust(extent, b"\0"), place * PLACE_SIZE)


def create_state_files(
    dir_fd: int,
    uuid: UUID,
    nvram: bytes = b"",
    *,
    replace: bool = False,
    durable_names: bool = True,
) -> None:
    """Make all state files of an instance, empty but for what `nvram` is to hold.

    Permanent state is made last: when it is there, no other state beside it is of another time.
    Without `durable_names` that holds once the directory is durable.
    Raises as `create_state_file`.
    """
    for role in reversed(ROLES):
        content = nvram if role == "nvram" else b""
        create_state_file(
            dir_fd, role, uuid, role, content, replace=replace, durable_name=durable_names
        )


def complete_state_files(dir_fd: int, uuid: UUID) -> None:
    """Make those state files of an instance that are missing. Raises StorageError."""
    for role in ROLES:
        try:
            create_state_file(dir_fd, role, uuid, role)
        except StorageError as error:
            if error.kind != "exists":
                raise


def open_state_file(dir_fd: int, name: str, *, writable: bool = True) -> int:
    """Open state file `name`: a descriptor for FileDevice, which the caller closes or hands on.

    Raises StorageError: `missing`; `unsafe` if it is a symbolic link or not a regular file, belongs
    to neither this user nor root, or others may write to it.
    """
    return open_file(name, dir_fd, writable=writable)


@contextmanager
def opened_files(dir_fd: int) -> Iterator[list[int]]:
    """Descriptors of all state files, in the order of `ROLES`. Raises as `open_state_file`."""
    with ExitStack() as opened:
        fds = []
        for role in ROLES:
            fds.append(open_state_file(dir_fd, role))
            opened.callback(os.close, fds[-1])
        yield fds


@contextmanager
def opened_nvram_file(dir_fd: int) -> Iterator[int]:
    """A descriptor of the permanent state that can't be written. Raises as `open_state_file`."""
    fd = open_state_file(dir_fd, "nvram", writable=False)
    try:
        yield fd
    finally:
        os.close(fd)


def stored_in(dir_fd: int, role: Role) -> UUID | None:
    """The instance with a state in this file, None if it is missing or was never written.

    Raises StorageError; EnvelopeError if no part of it can be read.
    """
    uuid, found = _loaded(dir_fd, role)
    return None if found is None or (found.content is None and found.condition == "whole") else uuid


def stored_size(dir_fd: int, role: Role) -> int | None:
    """How many octets the state in this file has, None if there is none. Raises as `stored_in`."""
    _, found = _loaded(dir_fd, role)
    return None if found is None or found.content is None else len(found.content)


def _loaded(dir_fd: int, role: Role) -> tuple[UUID | None, Loaded | None]:
    """Whose state file this is and what it holds; None twice if it is missing."""
    try:
        fd = open_state_file(dir_fd, role, writable=False)
    except StorageError as error:
        if error.kind == "missing":
            return None, None
        raise
    try:
        device = FileDevice(fd)
        uuid = owner(device)
        return uuid, StateFile(device, uuid, role).load()
    finally:
        os.close(fd)
