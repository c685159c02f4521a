"""A directory of its own for each test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.disks import file_size_limit, small_disk
from vtpmd.storage.files import open_directory

__all__ = ["file_size_limit", "small_disk"]


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    fd = open_directory(tmp_path)
    yield fd
    os.close(fd)
