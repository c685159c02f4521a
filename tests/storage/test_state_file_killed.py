"""A state file whose writer is killed at any of its system calls, or whose calls fail."""

import os
import signal
from pathlib import Path

import pytest

from tests.storage.simulated import VM
from tests.storage.state_writer import LARGE, NEW, OLD
from tests.storage.test_crash import STRACE, Call, run
from vtpmd.storage.device import FileDevice
from vtpmd.storage.files import open_directory
from vtpmd.storage.state_file import StateFile
from vtpmd.storage.state_files import create_state_file, open_state_file
from vtpmd.storage.temporary import remove_leftovers

WRITER = "tests.storage.state_writer"
RESULTS = {"save": NEW, "first": NEW, "grow": LARGE, "clear": None, "create": NEW}
DOCUMENTED = {"fstat", "newfstatat", "pread64", "pwritev2", "fallocate"}
REFUSED = "pwritev2:error=EOPNOTSUPP"

pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


def directory(path: Path, way: str) -> Path:
    path.mkdir(0o700)
    if way != "create":
        dir_fd = open_directory(path)
        create_state_file(dir_fd, "nvram", VM, "nvram", OLD)
        os.close(dir_fd)
    return path


def reopened(path: Path) -> bytes | str | None:
    """What the next process finds; it can also save, and no leftover remains."""
    dir_fd = open_directory(path)
    try:
        remove_leftovers(dir_fd)
        if not (path / "nvram").exists():
            assert os.listdir(path) == []
            return "missing"
        assert os.listdir(path) == ["nvram"]
        fd = open_state_file(dir_fd, "nvram")
        file = StateFile(FileDevice(fd), VM, "nvram")
        loaded = file.load()
        assert loaded.condition == "whole"
        file.save(b"next")
        assert StateFile(FileDevice(fd), VM, "nvram").load().content == b"next"
        os.close(fd)
    finally:
        os.close(dir_fd)
    return loaded.content


@pytest.mark.parametrize("way", RESULTS)
def test_writer_killed_at_any_system_call(tmp_path: Path, way: str) -> None:
    status, failure, calls = run(directory(tmp_path / "whole", way), way, module=WRITER)
    assert (status, failure) == (0, "")
    new = RESULTS[way]
    assert reopened(tmp_path / "whole") == new
    before = "missing" if way == "create" else OLD
    found = []
    for index, (name, count) in enumerate(calls):
        path = directory(tmp_path / str(index), way)
        status, _, done = run(path, way, f"{name}:signal=KILL:when={count}", module=WRITER)
        assert status in {-signal.SIGKILL, 128 + signal.SIGKILL}
        assert done == calls[: index + 1]
        found.append(reopened(path))
    turn = found.index(new) if new in found else len(found)
    assert found == [before] * turn + [new] * (len(calls) - turn)


def names(calls: list[Call]) -> list[str]:
    return [name for name, _ in calls]


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("save", ["pwritev2"]),
        ("first", ["pwritev2", "pwritev2"]),
        ("clear", ["pread64", "pwritev2"] * 2),  # all of what is there is overwritten
        ("grow", ["fallocate", "fallocate", "pwritev2"]),
    ],
)
def test_cost(tmp_path: Path, way: str, expected: list[str]) -> None:
    _, _, calls = run(directory(tmp_path / "file", way), way, module=WRITER)
    assert names(calls) == expected
    log = (tmp_path / "file.strace").read_text().splitlines()
    assert all("RWF_DSYNC" in line for line in log if line.startswith("pwritev2"))
    assert set(names(calls)) <= DOCUMENTED


def test_file_system_without_synced_writes(tmp_path: Path) -> None:
    path = directory(tmp_path / "file", "first")
    _, failure, calls = run(path, "first", REFUSED, module=WRITER)
    assert failure == ""
    # Refused once, it is not tried again.
    assert names(calls) == ["pwritev2", "pwrite64", "fdatasync", "pwrite64", "fdatasync"]
    assert reopened(path) == NEW


def test_writer_killed_between_write_and_sync(tmp_path: Path) -> None:
    for count in (1, 2):
        path = directory(tmp_path / str(count), "first")
        status, _, _ = run(
            path, "first", REFUSED, f"fdatasync:signal=KILL:when={count}", module=WRITER
        )
        assert status in {-signal.SIGKILL, 128 + signal.SIGKILL}
        assert reopened(path) == (OLD, NEW)[count - 1]


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EDQUOT", "EROFS"])
def test_failing_write_is_an_error(tmp_path: Path, error: str) -> None:
    path = directory(tmp_path / "file", "save")
    _, failure, _ = run(path, "save", f"pwritev2:error={error}:when=2", module=WRITER)
    assert failure == ("full" if error in ("ENOSPC", "EDQUOT") else "failed")
    assert reopened(path) == OLD


def test_failing_sync_is_an_error(tmp_path: Path) -> None:
    path = directory(tmp_path / "file", "save")
    _, failure, _ = run(path, "save", REFUSED, "fdatasync:error=EIO:when=2", module=WRITER)
    assert failure == "failed"


def test_interrupted_write_is_continued(tmp_path: Path) -> None:
    path = directory(tmp_path / "file", "save")
    _, failure, calls = run(path, "save", "pwritev2:error=EINTR:when=2", module=WRITER)
    assert (failure, names(calls)) == ("", ["pwritev2", "pwritev2"])
    assert reopened(path) == NEW


def test_short_write_is_followed_by_a_whole_one(tmp_path: Path) -> None:
    path = directory(tmp_path / "file", "save")
    _, failure, calls = run(path, "save", "pwritev2:retval=100:when=2", module=WRITER)
    assert (failure, names(calls)) == ("", ["pwritev2", "pwrite64", "pwritev2"])
    assert reopened(path) == NEW


def test_writes_that_are_always_short_are_an_error(tmp_path: Path) -> None:
    path = directory(tmp_path / "file", "save")
    _, failure, calls = run(path, "save", "pwritev2:retval=100:when=2+", module=WRITER)
    assert (failure, names(calls)) == ("failed", ["pwritev2", "pwrite64"] * 3)


@pytest.mark.parametrize("when", [1, 2])
def test_failing_sync_makes_no_file(tmp_path: Path, when: int) -> None:
    path = directory(tmp_path / "file", "create")
    _, failure, _ = run(path, "create", f"fsync:error=EIO:when={when}", module=WRITER)
    assert failure == "failed"
    assert reopened(path) == ("missing" if when == 1 else NEW)
