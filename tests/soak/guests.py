"""A real guest that counts, and is booted anew whenever its TPM, or QEMU, is taken from it."""

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.guest.console import Results
from tests.guest.errors import GuestError
from tests.guest.options import Options
from tests.guest.qemu import Machine, tpm_arguments
from tests.guest.shell import Shell
from tests.peers.vtpmd import VtpmdInstance

_INDEX: Final = "0x01500030"
_DEFINE: Final = f"tpm2 nvdefine -Q -C o -a 'ownerread|ownerwrite|nt=counter' {_INDEX}"
_INCREMENT: Final = f"tpm2 nvincrement -Q -C o {_INDEX}"
_READ: Final = f"tpm2 nvread -C o -s 8 {_INDEX} | od -An -tu1"
_DAY: Final = 86400.0
_PAUSE: Final = 0.2


class CountingGuest(threading.Thread):
    """A guest under QEMU, which increments a counter of its TPM; as `CountingMachine`."""

    def __init__(self, instance: VtpmdInstance, image: Path) -> None:
        super().__init__(name=instance.name)
        self.ended = threading.Event()
        self.tally: Counter[str] = Counter()
        self.losses: list[str] = []
        self.instance = instance
        self._options = Options(guest=image, scenario="shell", firmware=None, append="loglevel=4")
        self._count = self._open_count = 0
        self._machine: Machine | None = None

    def prepare(self) -> None:
        """Define what is counted, before anything fails."""
        with self._booted() as shell:
            shell.run(f"{_DEFINE} && {_INCREMENT}")
            self._count = _counted(shell)

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                with self._booted() as shell:
                    self._check(shell)
                    while not self.ended.is_set():
                        self._increment(shell)
            except (GuestError, OSError):
                self.tally["guests booted anew"] += 1
                self.ended.wait(_PAUSE)

    def cut(self) -> None:
        """Kill its QEMU."""
        if self._machine is not None:
            self._machine.kill()

    def check(self) -> None:
        """Compare once more, when all is well again."""
        with self._booted() as shell:
            self._check(shell)

    def _increment(self, shell: Shell) -> None:
        self._open_count += 1
        shell.run(_INCREMENT)
        self.tally["commands of guests answered"] += 1
        self._count, self._open_count = self._count + 1, self._open_count - 1

    def _check(self, shell: Shell) -> None:
        count = _counted(shell)
        if not self._count <= count <= self._count + self._open_count:
            expected = f"{self._count} to {self._count + self._open_count}"
            self.losses.append(f"{self.name}: {count} increments, not {expected}")
        self.tally["checks by guests"] += 1
        self._count, self._open_count = count, 0

    @contextmanager
    def _booted(self) -> Iterator[Shell]:
        """A guest that has just booted."""
        with tempfile.TemporaryDirectory(prefix="vtpm.") as directory:
            machine = self._machine = Machine(
                self._options,
                Results(self._options.log),
                "tcg",
                Path(directory),
                1,
                tpm_arguments(self.instance.control, "crb"),
                time.monotonic() + _DAY,
            )
            try:
                with Shell(machine.serial) as shell:
                    shell.booted()
                    self.tally["guests' boots"] += 1
                    yield shell
            finally:
                machine.close()


def _counted(shell: Shell) -> int:
    octets = bytes(map(int, shell.run(_READ).split()[-8:]))
    return int.from_bytes(octets, "big")
