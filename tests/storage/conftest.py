"""A directory of its own for each test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vtpmd.storage.files import open_directory
from vtpmd.storage.store import Store


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    fd = open_directory(tmp_path)
    yield fd
    os.close(fd)


@pytest.fixture
def store(dir_fd: int) -> Iterator[Store]:
    with Store(dir_fd) as opened:
        yield opened
