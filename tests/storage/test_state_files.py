"""State files on real file systems: made whole, opened safely, and noticed when space runs out."""

import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.storage.disks import fill, mounted
from tests.storage.simulated import VM
from vtpmd.storage.device import FileDevice
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.files import open_directory
from vtpmd.storage.record import MAX_SIZE, ROLES
from vtpmd.storage.state_file import FILE_SIZE, PLACE_SIZE, Loaded, StateFile
from vtpmd.storage.state_files import (
    complete_state_files,
    create_state_file,
    create_state_files,
    open_state_file,
    opened_files,
    stored_in,
)

OLD, NEW = b"old" * 4000, b"new" * 5000


@contextmanager
def opened(dir_fd: int) -> Iterator[StateFile]:
    fd = open_state_file(dir_fd, "nvram")
    try:
        file = StateFile(FileDevice(fd), VM, "nvram")
        file.load()
        yield file
    finally:
        os.close(fd)


def loaded(dir_fd: int) -> Loaded:
    fd = open_state_file(dir_fd, "nvram", writable=False)
    try:
        return StateFile(FileDevice(fd), VM, "nvram").load()
    finally:
        os.close(fd)


def content(dir_fd: int) -> bytes | None:
    found = loaded(dir_fd)
    assert found.condition == "whole"
    return found.content


def kind(attempt: Callable[[], object]) -> str:
    with pytest.raises(StorageError) as caught:
        attempt()
    return caught.value.kind


def test_file_is_made_in_full(dir_fd: int, tmp_path: Path) -> None:
    create_state_file(dir_fd, "nvram", VM, "nvram", OLD)
    status = (tmp_path / "nvram").stat()
    assert status.st_mode & 0o7777 == 0o600
    assert PLACE_SIZE % 4096 == 0
    # Both places with headroom; between them a hole.
    assert PLACE_SIZE + len(OLD) + (16 << 10) <= status.st_size <= FILE_SIZE
    assert 2 * (len(OLD) + (16 << 10)) <= status.st_blocks * 512 < 200_000
    assert content(dir_fd) == OLD
    with opened(dir_fd) as file:
        for number in range(20):
            file.save(NEW + b"%d" % number)
            assert content(dir_fd) == NEW + b"%d" % number
        after = (tmp_path / "nvram").stat()
        assert (after.st_size, after.st_blocks, after.st_ino) == (
            status.st_size, status.st_blocks, status.st_ino,
        )  # fmt: skip
        assert os.listdir(tmp_path) == ["nvram"]


def test_empty_file_is_made(dir_fd: int) -> None:
    create_state_file(dir_fd, "nvram", VM, "nvram")
    assert content(dir_fd) is None
    with opened(dir_fd) as file:
        file.save(NEW)
    assert content(dir_fd) == NEW


def test_largest_record_is_made_and_saved(dir_fd: int, tmp_path: Path) -> None:
    create_state_file(dir_fd, "nvram", VM, "nvram", bytes(MAX_SIZE))
    with opened(dir_fd) as file:
        file.save(b"\xff" * MAX_SIZE)
    assert content(dir_fd) == b"\xff" * MAX_SIZE
    assert (tmp_path / "nvram").stat().st_size <= FILE_SIZE
    with pytest.raises(ValueError):
        create_state_file(dir_fd, "more", VM, "nvram", bytes(MAX_SIZE + 1))


def test_what_exists_is_replaced_only_on_demand(dir_fd: int, tmp_path: Path) -> None:
    create_state_file(dir_fd, "nvram", VM, "nvram", OLD)
    assert kind(lambda: create_state_file(dir_fd, "nvram", VM, "nvram", NEW)) == "exists"
    assert content(dir_fd) == OLD
    create_state_file(dir_fd, "nvram", VM, "nvram", NEW, replace=True)
    assert content(dir_fd) == NEW
    assert os.listdir(tmp_path) == ["nvram"]


def test_only_a_safe_file_is_opened(dir_fd: int, tmp_path: Path) -> None:
    assert kind(lambda: open_state_file(dir_fd, "nvram")) == "missing"
    create_state_file(dir_fd, "nvram", VM, "nvram", OLD)
    (tmp_path / "link").symlink_to("nvram")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "pipe", "."):
        assert kind(lambda name=name: open_state_file(dir_fd, name)) in {"unsafe"}  # type: ignore[misc]
    (tmp_path / "nvram").chmod(0o620)
    assert kind(lambda: open_state_file(dir_fd, "nvram")) == "unsafe"


def test_descriptor_of_anything_but_a_file_is_refused(dir_fd: int) -> None:
    reading, writing = os.pipe()
    with socket.socket() as connection:
        for fd in (reading, writing, connection.fileno(), dir_fd):
            assert kind(lambda fd=fd: FileDevice(fd)) == "unsafe"  # type: ignore[misc]
    os.close(reading)
    os.close(writing)


def test_file_open_for_reading_can_not_be_saved(dir_fd: int) -> None:
    create_state_file(dir_fd, "nvram", VM, "nvram", OLD)
    fd = open_state_file(dir_fd, "nvram", writable=False)
    file = StateFile(FileDevice(fd), VM, "nvram")
    assert file.load().content == OLD
    assert kind(lambda: file.save(NEW)) == "failed"
    os.close(fd)


def test_size_limit_is_noticed_in_advance(dir_fd: int) -> None:
    create_state_file(dir_fd, "nvram", VM, "nvram", OLD)
    with opened(dir_fd) as file:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (PLACE_SIZE + 100_000, limits[1]))
        try:
            assert file.reserve(50_000)
            assert not file.reserve(100_000)
            assert file.shortage == "cannot reserve 100000 octets: File too large"
            file.save(b"one")  # into place 1 …
            file.save(b"two")
            # … where the next one is cut short at the limit.
            assert kind(lambda: file.save(NEW * 10)) == "full"
            assert loaded(dir_fd).content == b"two"
            assert file.reserve(50_000)
            file.save(NEW)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert content(dir_fd) == NEW


def test_full_disk_is_noticed_before_a_save_and_not_during_one(small_disk: Path) -> None:
    dir_fd = open_directory(small_disk)
    try:
        create_state_file(dir_fd, "nvram", VM, "nvram", OLD)
        with opened(dir_fd) as file:
            assert file.reserve(40_000)
            filler = small_disk / "filler"
            fill(filler)
            # The reservation holds although the disk is full, for as many saves as there are …
            for number in range(5):
                assert file.reserve(40_000)
                file.save(bytes([number]) * 40_000)
            # … and a larger one is refused in advance, with the reason.
            assert not file.reserve(100_000)
            assert file.shortage == "cannot reserve 100000 octets: No space left on device"
            assert kind(lambda: file.save(NEW * 7)) == "full"
            assert loaded(dir_fd).content == bytes([4]) * 40_000
            assert (
                kind(lambda: create_state_file(dir_fd, "volatile", VM, "volatile", OLD)) == "full"
            )
            assert sorted(os.listdir(small_disk)) == ["filler", "nvram"]
            filler.unlink()
            file.save(bytes(50_000))
            assert content(dir_fd) == bytes(50_000)
    finally:
        os.close(dir_fd)


WITHOUT_FALLOCATE = """
import os, sys
from uuid import UUID
from vtpmd.storage.device import FileDevice
from vtpmd.storage.state_file import StateFile
fd = os.open(sys.argv[1], os.O_RDWR)
file = StateFile(FileDevice(fd), UUID(sys.argv[2]), "nvram")
assert file.load().content == b"old"
assert file.reserve(400_000), file.shortage
file.save(bytes(400_000))
"""


def test_file_system_without_fallocate(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ramfs", "mode=0700") as path:
        dir_fd = open_directory(path)
        create_state_file(dir_fd, "nvram", VM, "nvram", b"old")
        command = [sys.executable, "-c", WITHOUT_FALLOCATE, str(path / "nvram"), str(VM)]
        subprocess.run(command, check=True, timeout=60)
        assert content(dir_fd) == bytes(400_000)
        os.close(dir_fd)


def test_reader_beside_a_busy_writer_gets_a_state_that_was_current(dir_fd: int) -> None:
    create_state_file(dir_fd, "nvram", VM, "nvram", b"0" * 50_000)
    done = threading.Event()
    latest = 0

    def write() -> None:
        nonlocal latest
        with opened(dir_fd) as file:
            for number in range(1, 150):
                file.save(b"%d" % (number % 10) * 50_000)
                latest = number
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    fd = open_state_file(dir_fd, "nvram", writable=False)
    while not done.is_set():
        loaded = StateFile(FileDevice(fd), VM, "nvram").load()
        assert loaded.content is not None
        assert loaded.content == loaded.content[:1] * 50_000
    writer.join()
    os.close(fd)
    assert latest == 149


def test_every_file_of_an_instance_is_made_and_opened(dir_fd: int, tmp_path: Path) -> None:
    create_state_files(dir_fd, VM, OLD)
    with opened_files(dir_fd) as fds:
        found = [
            StateFile(FileDevice(fd), VM, role).load().content
            for fd, role in zip(fds, ROLES, strict=True)
        ]
    assert found == [OLD, None, None]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    (tmp_path / "volatile").unlink()
    with pytest.raises(StorageError) as caught, opened_files(dir_fd):
        pass
    assert caught.value.kind == "missing"
    complete_state_files(dir_fd, VM)
    assert content(dir_fd) == OLD
    with opened_files(dir_fd):
        pass


def test_a_file_that_was_never_written_is_told_from_one_that_lost_its_state(
    dir_fd: int, tmp_path: Path
) -> None:
    """Only the first may be followed by a new TPM."""
    assert stored_in(dir_fd, "nvram") is None
    create_state_files(dir_fd, VM)
    assert stored_in(dir_fd, "nvram") is None
    with opened(dir_fd) as file:
        file.save(OLD)
    assert stored_in(dir_fd, "nvram") == VM
    fd = os.open(tmp_path / "nvram", os.O_RDWR)
    os.pwrite(fd, bytes(512), PLACE_SIZE)  # where the state was, with the empty one beside it
    assert stored_in(dir_fd, "nvram") == VM
    os.pwrite(fd, bytes(512), 0)
    os.close(fd)
    with pytest.raises(EnvelopeError, match="neither of its places"):
        stored_in(dir_fd, "nvram")


def test_the_layout_of_an_unreleased_vtpmd_is_refused_as_that(dir_fd: int, tmp_path: Path) -> None:
    (tmp_path / "nvram").write_bytes(bytes.fromhex("d86084") + bytes(8000))
    (tmp_path / "nvram").chmod(0o600)
    with pytest.raises(EnvelopeError, match="layout of an unreleased vtpmd"):
        stored_in(dir_fd, "nvram")
    with pytest.raises(EnvelopeError, match="unreleased"):
        loaded(dir_fd)
