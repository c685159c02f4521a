"""A directory of its own for each test."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.storage.disks import file_size_limit, small_disk
from vtpmd.storage.files import open_directory

__all__ = ["file_size_limit", "small_disk"]


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    fd = open_directory(tmp_path)
    yield fd
    os.close(fd)


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """The system calls that matter, as they are made, each with the directory it is about."""
    made: list[tuple[str, Path]] = []

    def watch(name: str) -> None:
        call = getattr(os, name)

        def watched(*arguments: Any, dir_fd: int | None = None) -> None:
            fd = arguments[0] if dir_fd is None else dir_fd
            made.append((name, Path(f"/proc/self/fd/{fd}").readlink()))
            call(*arguments) if dir_fd is None else call(*arguments, dir_fd=dir_fd)

        monkeypatch.setattr(os, name, watched)

    for name in ("mkdir", "unlink", "rmdir", "fsync"):
        watch(name)
    return made
