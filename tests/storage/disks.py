"""File systems that are small, strange or full."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def mounted(path: Path, kind: str, options: str) -> Iterator[Path]:
    """A file system of this kind, empty."""
    path.mkdir()
    mount = ["mount", "-t", kind, "-o", options, "vtpmd-test", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip(f"cannot mount a {kind} here")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    with mounted(tmp_path / "disk", "tmpfs", "size=256k,mode=0700") as path:
        yield path


def fill(filler: Path) -> None:
    """Write until nothing more can be."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
