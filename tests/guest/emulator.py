"""The TPM emulators of a run: already listening, or started by us as often as needed."""

import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.guest.endorsement import Endorsement
from tests.guest.errors import GuestError, NotPossibleError


class Emulator(Protocol):
    """One TPM: 1 is the machine's, 2 that of a migration's destination."""

    @property
    def socket(self) -> Path:
        """The control socket."""

    def start(self) -> None:
        """It must listen when this returns, for a first or a further QEMU."""

    def kill(self) -> None:
        """End it with SIGKILL, as a crash of the host would."""

    def stop(self) -> None:
        """The run is over."""

    def endorsement(self) -> Endorsement | None:
        """Who its TPM is; None if nobody says so."""


@dataclass
class Listening:
    """An emulator that somebody else runs; it must outlive CMD_SHUTDOWN."""

    socket: Path

    def start(self) -> None:
        if not self.socket.exists():
            raise NotPossibleError(f"no TPM emulator at {self.socket}")

    def kill(self) -> None:
        """It is not ours to kill."""

    def stop(self) -> None:
        """It is not ours to stop."""

    def endorsement(self) -> None:
        """Nobody says who it is."""


class Started:
    """An emulator that we start from a command line, anew for each QEMU."""

    def __init__(self, command: str, number: int, socket: Path, log: Path) -> None:
        self.socket = socket
        self._log = log
        filled = command.replace("{socket}", str(socket)).replace("{n}", str(number))
        self._command = shlex.split(filled)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._end(patience=3)  # QEMU's end ends most emulators
        self.socket.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while not self.socket.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace").strip()
                raise GuestError(f"the TPM emulator did not start: {said}")
            time.sleep(0.01)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        self._end(patience=0)

    def endorsement(self) -> None:
        """Nobody says who it is."""

    def _end(self, patience: float) -> None:
        if not self._process:
            return
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
