from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.supervisor.harness import Daemon, running


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A running daemon in a directory of its own."""
    with running(tmp_path, "sockets: {data_socket: true}") as daemon:
        yield daemon
