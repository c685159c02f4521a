"""Servers of other projects, each a process of its own that listens on loopback."""

import contextlib
import os
import select
import signal
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
    """A command that serves `port`, in a session of its own; `output` gets what it writes."""

    def __init__(self, command: Sequence[str], port: int, output: Path) -> None:
        """Start it and return when it listens."""
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                command, stdout=file, stderr=file, start_new_session=True
            )
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

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it with a signal, wait for its end, and leave none of its processes behind."""
        self._process.send_signal(number)
        try:
            self._process.wait(DEADLINE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return False
    return True
