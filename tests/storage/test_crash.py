"""A write that is killed at any of its system calls, or whose fsync fails, loses nothing."""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.storage.writer import NEW, OLD
from vtpmd.storage.atomic import write_file
from vtpmd.storage.files import open_directory

STRACE = shutil.which("strace")
ROOT = Path(__file__).parents[2]
MARK = "sched_yield"
MEMORY = {"brk", "mmap", "munmap", "mremap", "madvise"}
pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed")

Call = tuple[str, int]  # the name of a system call, and the how manieth of this name it is


def run(
    path: Path, way: str, *injections: str, module: str = "tests.storage.writer"
) -> tuple[int, str, list[Call]]:
    """Run the writer; return its exit status, what failed and the calls of its write."""
    assert STRACE is not None
    log = path.with_suffix(".strace")
    command = [STRACE, "-qq", "-o", str(log), "-e", "signal=none"]
    for injection in injections:
        command += ["-e", f"inject={injection}"]
    command += [sys.executable, "-S", "-m", module, str(path), way]
    environment = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    calls, counts = [], Counter[str]()
    for line in log.read_text().splitlines():
        name = line.partition("(")[0]
        counts[name] += 1
        if counts[MARK] == 1 and name != MARK and name not in MEMORY:
            calls.append((name, counts[name]))
    assert counts[MARK], f"the writer did not come to its write: {done.stderr}"
    return done.returncode, done.stdout.strip(), calls


def directory(path: Path, way: str) -> Path:
    path.mkdir(0o700)
    if way != "create":
        (path / "meta.json").write_bytes(OLD)
    return path


def reopened(path: Path) -> bytes | None:
    """What the next process finds; it can also write, and no leftover remains."""
    file = path / "meta.json"
    dir_fd = open_directory(path)
    try:
        found = file.read_bytes() if file.exists() else None
        write_file(dir_fd, "meta.json", b"next")
        assert file.read_bytes() == b"next"
        assert os.listdir(path) == ["meta.json"]
    finally:
        os.close(dir_fd)
    return found


@pytest.mark.parametrize("way", ["replace", "create"])
def test_writer_killed_at_any_system_call(tmp_path: Path, way: str) -> None:
    status, _, calls = run(directory(tmp_path / "whole", way), way)
    assert status == 0
    assert reopened(tmp_path / "whole") == NEW
    before = None if way == "create" else OLD
    found = []
    for index, (name, count) in enumerate(calls):
        path = directory(tmp_path / str(index), way)
        status, _, done = run(path, way, f"{name}:signal=KILL:when={count}")
        assert status in {-signal.SIGKILL, 128 + signal.SIGKILL}
        assert done == calls[: index + 1]
        found.append(reopened(path))
    turn = found.index(NEW)
    assert found == [before] * turn + [NEW] * (len(calls) - turn)


def names(calls: list[Call]) -> list[str]:
    """The names without what differs between machines."""
    same = {"newfstatat": "fstat", "renameat": "rename", "renameat2": "rename"}
    return [same.get(name, name) for name, _ in calls if name != "getrandom"]


def test_order_of_a_write(tmp_path: Path) -> None:
    _, _, calls = run(directory(tmp_path / "directory", "replace"), "replace")
    assert names(calls)[-5:] == ["pwrite64", "fsync", "rename", "close", "fsync"]


@pytest.mark.parametrize(("fsync", "content"), [(1, OLD), (2, NEW)])
def test_failing_fsync_is_an_error(tmp_path: Path, fsync: int, content: bytes) -> None:
    path = directory(tmp_path / "directory", "replace")
    status, failure, _ = run(path, "replace", f"fsync:error=EIO:when={fsync}")
    assert (status, failure) == (0, "failed")
    assert (path / "meta.json").read_bytes() == content
    reopened(path)


def test_failing_rename_is_an_error(tmp_path: Path) -> None:
    path = directory(tmp_path / "directory", "replace")
    _, failure, _ = run(path, "replace", "?rename,?renameat,?renameat2:error=EROFS:when=1")
    assert failure == "failed"
    assert reopened(path) == OLD


def test_interrupted_write_is_continued(tmp_path: Path) -> None:
    path = directory(tmp_path / "directory", "replace")
    status, failure, calls = run(path, "replace", "pwrite64:error=EINTR:when=1")
    assert (status, failure) == (0, "")
    assert names(calls).count("pwrite64") == 2
    assert (path / "meta.json").read_bytes() == NEW
