"""The directory of an instance, which is the supervisor's alone::

    meta.json  *.pem            what is public about it
    condition.json              its state, and why, for the next daemon
    lock                        locked (flock) by whoever changes the instance, or serves it
    lease.json                  which host's worker serves it
    tpm/nvram                   the state of its TPM, for a worker by open descriptors
    tpm/volatile
    tpm/incoming
    snapshots/*.tar             older states of its TPM, a bundle each

A worker can write no other file than the three in `tpm`, and open none at all.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from vtpmd.linux.errors import InUseError
from vtpmd.storage.atomic import remove_file
from vtpmd.storage.directory import LOCK, make_directory, remove_directory
from vtpmd.storage.envelope import Envelope
from vtpmd.storage.errors import StorageError, outdated
from vtpmd.storage.files import open_directory, storage_error
from vtpmd.storage.sealed import holds_record, read_sealed
from vtpmd.storage.state_files import (
    create_state_files,
    opened_files,
    opened_nvram_file,
)

META, TPM, SNAPSHOTS = "meta.json", "tpm", "snapshots"
"""Public metadata; the directories of the state files and of snapshots."""

_OUTDATED = ("nvram", "volatile", "volatile.next")
_LOCK_FLAGS = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def furnish(dir_fd: int, uuid: UUID) -> None:
    """Make the lock and the state files of a new instance, complete and empty.

    That all of them are there is durable only after `settle`. Raises StorageError.
    """
    os.close(_open_lock(dir_fd))
    tpm = make_directory(TPM, dir_fd, durable=False)
    try:
        create_state_files(tpm, uuid, durable_names=False)
    finally:
        os.close(tpm)


def settle(dir_fd: int) -> None:
    """Make durable which files are there, before others know of the instance.

    One sync for each directory instead of one for each file. Raises StorageError.
    """
    with _tpm(dir_fd) as tpm:
        try:
            os.fsync(tpm)
            os.fsync(dir_fd)
        except OSError as error:
            raise storage_error("make the directory of the instance durable", error) from None


def replace_state(dir_fd: int, uuid: UUID, nvram: bytes) -> None:
    """Make the state files anew, whatever there was, with `nvram` as the permanent state.

    That changes in one step; other state, which is of another time, is gone before. Raises
    StorageError.
    """
    try:
        tpm = open_directory(TPM, dir_fd)
    except StorageError as error:
        if error.kind != "missing":
            raise
        tpm = make_directory(TPM, dir_fd)
    try:
        create_state_files(tpm, uuid, nvram, replace=True)
    finally:
        os.close(tpm)
    for name in _OUTDATED:
        remove_file(dir_fd, name)


def remove_instance_directory(name: str, dir_fd: int) -> None:
    """Remove an instance's directory `name`, durably. Raises StorageError."""
    remove_directory(name, dir_fd, within=[TPM, SNAPSHOTS])


@contextmanager
def claimed(dir_fd: int) -> Iterator[int]:
    """The descriptor of the instance's lock, open for reading and locked. Raises InUseError.

    The lock belongs to the open file, not to this process: a worker that was handed the descriptor
    keeps it for as long as it lives, whatever becomes of the supervisor.
    """
    lock = _open_lock(dir_fd)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError("another worker still uses its state") from None
        except OSError as error:
            raise storage_error("lock the instance", error) from None
        yield lock
    finally:
        os.close(lock)


@contextmanager
def opened_state(dir_fd: int) -> Iterator[list[int]]:
    """Descriptors of the state files, for a worker. Raises StorageError, EnvelopeError."""
    with _tpm(dir_fd) as tpm, opened_files(tpm) as fds:
        yield fds


@contextmanager
def opened_nvram(dir_fd: int) -> Iterator[int]:
    """A descriptor of the permanent state, for reading. Raises StorageError, EnvelopeError."""
    with _tpm(dir_fd) as tpm, opened_nvram_file(tpm) as fd:
        yield fd


def sealed_state(dir_fd: int, uuid: UUID) -> tuple[Envelope, bytes]:
    """The permanent state, parsed and as it is stored. Raises StorageError, EnvelopeError."""
    with opened_nvram(dir_fd) as fd:
        return read_sealed(fd, uuid)


def holds_state(dir_fd: int, uuid: UUID) -> bool:
    """Whether there is a permanent state. Raises StorageError, EnvelopeError for damaged files."""
    with opened_nvram(dir_fd) as fd:
        return holds_record(fd, uuid)


def demand_layout(dir_fd: int) -> None:
    """Raise EnvelopeError for an instance of an unreleased vtpmd."""
    here = os.listdir(dir_fd)
    if TPM not in here and "nvram" in here:
        raise outdated("its state is beside meta.json, not in the directory tpm")


@contextmanager
def _tpm(dir_fd: int) -> Iterator[int]:
    demand_layout(dir_fd)
    tpm = open_directory(TPM, dir_fd)
    try:
        yield tpm
    finally:
        os.close(tpm)


def _open_lock(dir_fd: int) -> int:
    try:
        return os.open(LOCK, _LOCK_FLAGS, 0o600, dir_fd=dir_fd)
    except OSError as error:
        raise storage_error("open the lock of the instance", error) from None
