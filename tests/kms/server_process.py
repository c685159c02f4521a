"""Servers of other projects, each a process of its own that listens on loopback."""

import os
import select
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

DEADLINE = 60.0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


class ServerProcess:
    """A command that serves ``port``; what it writes goes to ``output``."""

    def __init__(self, command: Sequence[str], port: int, output: Path) -> None:
        """Start it and return when it listens."""
        with output.open("ab") as file:
            self._process = subprocess.Popen(command, stdout=file, stderr=file)
        ended = os.pidfd_open(self._process.pid)
        deadline = time.monotonic() + DEADLINE
        try:
            while not _listens(port):
                gone, _, _ = select.select([ended], [], [], 0.02)
                assert not gone, output.read_text()
                assert time.monotonic() < deadline, "the server does not listen"
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(ended)

    def stop(self) -> None:
        """End it and wait for its end."""
        self._process.terminate()
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return False
    return True
