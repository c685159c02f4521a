import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from tests.limits import time_limit
from tests.supervisor.harness import Daemon, running
from tests.supervisor.stage import Stage, staged

__all__ = ["time_limit"]


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory with a path short enough for the sockets in it, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="vtpmd-") as directory:
        yield Path(directory)


@pytest.fixture
def daemon(root: Path) -> Iterator[Daemon]:
    """A running daemon in a directory of its own."""
    with running(root, "sockets: {data_socket: true}") as daemon:
        yield daemon


@pytest.fixture
async def stage(nursery: trio.Nursery) -> AsyncIterator[Stage]:
    """A fleet in this process."""
    async with staged(nursery) as stage:
        yield stage
