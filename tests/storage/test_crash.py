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
from vtpmd.storage.files import open_directory
from vtpmd.storage.store import Store

STRACE = shutil.which("strace")
ROOT = Path(__file__).parents[2]
MARK = "sched_yield"
MEMORY = {"brk", "mmap", "munmap", "mremap", "madvise"}
DOCUMENTED = {
    *("openat", "fstat", "newfstatat", "flock", "getrandom", "fallocate", "pwrite64", "ftruncate"),
    *("fsync", "rename", "renameat", "renameat2", "unlink", "unlinkat", "close"),
}

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
        (path / "nvram").write_bytes(OLD)
    return path


def reopened(path: Path) -> bytes | None:
    """What the next process finds; it can also write, and no leftover remains."""
    dir_fd = open_directory(path)
    try:
        with Store(dir_fd) as store:
            found = store.read("nvram") if (path / "nvram").exists() else None
            store.write("nvram", b"next")
            assert store.read("nvram") == b"next"
        assert os.listdir(path) == ["nvram"]
    finally:
        os.close(dir_fd)
    return found


@pytest.mark.parametrize("way", ["replace", "plain", "create"])
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


def test_order_and_cost_of_a_write(tmp_path: Path) -> None:
    _, _, calls = run(directory(tmp_path / "store", "replace"), "replace")
    write = ["pwrite64", "ftruncate", "fsync", "rename", "close", "fsync"]
    next_spare = ["openat", "flock", "fstat", "fallocate"]
    assert names(calls) == write + next_spare


@pytest.mark.parametrize("way", ["replace", "plain"])
def test_writes_make_no_system_call_that_a_sandbox_must_not_allow(tmp_path: Path, way: str) -> None:
    _, _, calls = run(directory(tmp_path / "store", way), way)
    assert {name for name, _ in calls} <= DOCUMENTED


@pytest.mark.parametrize(("fsync", "content"), [(1, OLD), (2, NEW)])
def test_failing_fsync_is_an_error(tmp_path: Path, fsync: int, content: bytes) -> None:
    path = directory(tmp_path / "store", "replace")
    status, failure, _ = run(path, "replace", f"fsync:error=EIO:when={fsync}")
    assert (status, failure) == (0, "failed")
    assert (path / "nvram").read_bytes() == content
    reopened(path)


def test_failing_rename_is_an_error(tmp_path: Path) -> None:
    path = directory(tmp_path / "store", "replace")
    _, failure, _ = run(path, "replace", "?rename,?renameat,?renameat2:error=EROFS:when=1")
    assert failure == "failed"
    assert reopened(path) == OLD


def test_interrupted_write_is_continued(tmp_path: Path) -> None:
    path = directory(tmp_path / "store", "replace")
    status, failure, calls = run(path, "replace", "pwrite64:error=EINTR:when=1")
    assert (status, failure) == (0, "")
    assert names(calls).count("pwrite64") == 2
    assert (path / "nvram").read_bytes() == NEW
