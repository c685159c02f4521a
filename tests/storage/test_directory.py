"""One daemon per state directory; instance directories come and go whole."""

import fcntl
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.power import Entries, Sync, recorded
from vtpmd.storage.directory import (
    DirectoryLock,
    ensure_directory,
    make_directory,
    remove_directory,
)
from vtpmd.storage.errors import DirectoryLockedError, StorageError

HOLDER = """
import os, sys
from vtpmd.storage.directory import DirectoryLock
from vtpmd.storage.files import open_directory
lock = DirectoryLock(open_directory(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def test_making_and_removing_are_durable_when_they_return(
    dir_fd: int, tmp_path: Path, acts: list[tuple[str, Path]]
) -> None:
    fd = make_directory("a", dir_fd)
    assert acts == [("mkdir", tmp_path), ("fsync", tmp_path)]
    (tmp_path / "a" / "file").touch()
    os.close(fd)
    acts.clear()
    remove_directory("a", dir_fd)
    removed = [("unlink", tmp_path / "a"), ("rmdir", tmp_path), ("fsync", tmp_path)]
    assert acts == removed


def test_a_path_is_made_as_far_as_it_is_missing_and_each_name_durably(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with recorded(tmp_path) as recording:
        for _ in range(2):
            os.close(ensure_directory(path))
    assert [type(each) for each in recording.operations] == [Entries, Sync, Entries, Sync]
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot create"):
        ensure_directory(tmp_path / "file" / "c")


def test_second_holder_is_told_who_the_first_is(dir_fd: int, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        env={"PYTHONPATH": root},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(
            DirectoryLockedError, match=f"in use by process {holder.pid}:"
        ) as caught:
            DirectoryLock(dir_fd)
        assert caught.value.pid == holder.pid
        assert caught.value.kind == "locked"
        holder.kill()
    DirectoryLock(dir_fd).close()


def test_lock_is_held_until_it_is_closed(dir_fd: int) -> None:
    with DirectoryLock(dir_fd):
        with pytest.raises(DirectoryLockedError) as caught:
            DirectoryLock(dir_fd)
        assert caught.value.pid == os.getpid()
    DirectoryLock(dir_fd).close()


def test_holder_that_left_no_pid_is_unknown(dir_fd: int, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DirectoryLockedError, match="in use by another process:") as caught:
            DirectoryLock(dir_fd)
    assert caught.value.pid is None


def test_full_disk_hinders_no_lock(dir_fd: int) -> None:
    DirectoryLock(dir_fd).close()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with DirectoryLock(dir_fd), pytest.raises(DirectoryLockedError) as caught:
            DirectoryLock(dir_fd)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.pid is None


def test_lock_file_that_is_a_link_is_refused(dir_fd: int, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"content")
    (tmp_path / "lock").symlink_to("victim")
    with pytest.raises(StorageError) as caught:
        DirectoryLock(dir_fd)
    assert caught.value.kind == "unsafe"
    assert (tmp_path / "victim").read_bytes() == b"content"


def test_directory_is_made_for_us_alone(dir_fd: int, tmp_path: Path) -> None:
    os.close(make_directory("instance", dir_fd))
    assert stat.S_IMODE((tmp_path / "instance").stat().st_mode) == 0o700
    with pytest.raises(StorageError) as caught:
        make_directory("instance", dir_fd)
    assert caught.value.kind == "exists"


def test_directory_is_removed_with_its_files(dir_fd: int, tmp_path: Path) -> None:
    os.close(make_directory("instance", dir_fd))
    (tmp_path / "kept").write_bytes(b"x")
    (tmp_path / "instance" / "nvram").write_bytes(b"x")
    (tmp_path / "instance" / "link").symlink_to("../kept")
    remove_directory("instance", dir_fd)
    assert os.listdir(tmp_path) == ["kept"]
    with pytest.raises(StorageError) as caught:
        remove_directory("instance", dir_fd)
    assert caught.value.kind == "missing"


def test_directory_with_directories_in_it_is_not_removed(dir_fd: int, tmp_path: Path) -> None:
    (tmp_path / "instance" / "inner").mkdir(parents=True, mode=0o700)
    (tmp_path / "instance").chmod(0o700)
    (tmp_path / "instance" / "nvram").write_bytes(b"x")
    with pytest.raises(StorageError, match="inner is a directory") as caught:
        remove_directory("instance", dir_fd)
    assert caught.value.kind == "unsafe"
    assert (tmp_path / "instance" / "nvram").exists()


def test_link_to_a_directory_is_not_removed_through(dir_fd: int, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(0o700)
    (tmp_path / "other" / "nvram").write_bytes(b"x")
    (tmp_path / "instance").symlink_to("other")
    with pytest.raises(StorageError) as caught:
        remove_directory("instance", dir_fd)
    assert caught.value.kind == "unsafe"
    assert (tmp_path / "other" / "nvram").exists()
