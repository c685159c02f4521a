"""A daemon for the tests of a module, or one of a test's own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.vtpmd import Vtpmd


@pytest.fixture(scope="module")
def host() -> Iterator[Vtpmd]:
    """A daemon that the tests of a module share; each test makes its own instances."""
    directory = Path(tempfile.mkdtemp(prefix="vtpm."))
    daemon = Vtpmd(directory)
    yield daemon
    daemon.close()
    shutil.rmtree(directory)


@pytest.fixture
def daemon(short_path: Path) -> Iterator[Vtpmd]:
    """A daemon of the test's own, to be ended and started as it likes."""
    daemon = Vtpmd(short_path)
    yield daemon
    daemon.close()
