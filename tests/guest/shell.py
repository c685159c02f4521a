"""The shell of a guest, for tests that tell it what to do."""

import contextlib
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.guest.errors import GuestError

PATIENCE = 240.0
"""Seconds for one command of a guest, its boot included, on a machine that has much else to do."""


class Shell:
    """A guest's shell (its scenario `shell`), by its serial console; all raise GuestError."""

    def __init__(self, console: socket.socket) -> None:
        self._console = console
        self._console.settimeout(1.0)
        self.said = b""

    @classmethod
    def connected(cls, path: Path) -> Self:
        """By the console that a socket of QEMU's is."""
        console = socket.socket(socket.AF_UNIX)
        console.connect(str(path))
        return cls(console)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._console.close()

    def until(self, mark: bytes) -> str:
        """What the guest says up to and without `mark`."""
        deadline = time.monotonic() + PATIENCE
        while mark not in self.said:
            try:
                octets = self._console.recv(65536)
            except TimeoutError:
                octets = None
            except OSError:
                octets = b""
            if octets == b"" or time.monotonic() > deadline:
                raise GuestError(f"the guest does not say {mark!r}: {self.said[-2000:]!r}")
            self.said += octets or b""
        text, _, self.said = self.said.partition(mark)
        return text.decode(errors="replace")

    def booted(self) -> None:
        """Wait for the shell."""
        self.until(b"@@ wait shell")

    def run(self, command: str) -> str:
        """What a command says; GuestError when it fails."""
        with contextlib.suppress(OSError):  # what is read tells
            self._console.sendall(f"echo @be'gin'; {command}; echo @en'd' $? .\n".encode())
        self.until(b"@begin")
        said = self.until(b"@end ")
        status = self.until(b" .").strip()
        if status != "0":
            raise GuestError(f"{command}: exit status {status}: {said}")
        return said.strip()
