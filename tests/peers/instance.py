"""What a served TPM offers to a test, whoever serves it."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.peers.client import PeerError


class Instance(Protocol):
    """One TPM with its two sockets: `data`, and `control`, which is `data` with ".ctrl" added."""

    @property
    def data(self) -> Path:
        """The data socket, if it was asked for one."""

    @property
    def control(self) -> Path:
        """The control socket: the data socket's path with ".ctrl" added."""

    def process(self) -> int:
        """Process id of what serves it."""

    def restart(self) -> None:
        """End serving it, orderly, and serve it again."""

    def close(self) -> None:
        """End serving it."""


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Poll a condition of another process; PeerError when it does not come true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise PeerError(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.002)


def end_process(process: subprocess.Popen[bytes], timeout: float = 15.0) -> None:
    """SIGTERM, and SIGKILL for what does not heed it."""
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
