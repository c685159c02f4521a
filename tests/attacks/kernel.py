"""The attacking guest: its kernel built, booted by QEMU, and told over its serial line what to do.

The guest knows nothing; each submission to its TPM, and the judgement of the answer, is the test's.
"""

import select
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.guest.errors import GuestError
from tests.guest.options import QEMU
from tests.guest.qemu import tpm_arguments
from tests.guest.qmp import Qmp

SOURCES = Path(__file__).with_name("guest")
CFLAGS = (
    *("-m32", "-std=gnu11", "-Os", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-nostdlib"),
    *("-fno-pic", "-no-pie", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack"),
)
BOOT_SECONDS = 60.0
ANSWER_SECONDS = 15.0
ENDING_SECONDS = 15.0


class SilentError(Exception):
    """The guest has had no answer from its TPM for a long time."""


def build(target: Path) -> Path:
    """Compile the kernel, with nothing but gcc, to an ELF file of a multiboot kernel."""
    sources = sorted(map(str, [*SOURCES.glob("*.S"), *SOURCES.glob("*.c")]))
    command = ["gcc", *CFLAGS, "-T", str(SOURCES / "link.ld"), *sources, "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


class AttackingGuest:
    """A machine whose guest submits octets to its TPM at our command."""

    def __init__(self, kernel: Path, tpm: Path, model: str, errors: Path) -> None:
        self._lines = b""
        self._errors = errors
        self._serial, serial = socket.socketpair()
        self._monitor, monitor = socket.socketpair()
        command = [
            *(QEMU, "-no-user-config", "-nodefaults", "-display", "none", "-m", "32"),
            *("-machine", "q35,accel=tcg", "-kernel", str(kernel), "-net", "none"),
            *("-chardev", f"socket,id=ser0,fd={serial.fileno()}", "-serial", "chardev:ser0"),
            *("-chardev", f"socket,id=mon0,fd={monitor.fileno()}"),
            *("-mon", "chardev=mon0,mode=control"),
            *tpm_arguments(tpm, model),
        ]
        with serial, monitor, errors.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[serial.fileno(), monitor.fileno()],
            )
        try:
            self.qmp = Qmp(self._monitor)
            self.expect_up(model)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End QEMU the hard way if it still runs."""
        self.process.kill()
        self.process.wait()
        self._serial.close()
        self._monitor.close()

    def expect_up(self, model: str) -> None:
        """Wait until the kernel has started, which follows the firmware's own use of the TPM."""
        deadline = time.monotonic() + BOOT_SECONDS
        while (line := self._line(deadline)) != f"up {model}":
            assert not line.startswith("up "), line

    def start(self, octets: bytes, locality: int = 0) -> None:
        """Submit octets; the answer is to be waited for."""
        self._serial.sendall(f"{locality} {octets.hex()}\n".encode())

    def answer(self, seconds: float = ANSWER_SECONDS) -> bytes | str:
        """The answer, or why the device took no command. Raises SilentError."""
        line = self._line(time.monotonic() + seconds)
        kind, _, content = line.partition(" ")
        return bytes.fromhex(content) if kind == "answer" else line

    def submit(self, octets: bytes, locality: int = 0) -> bytes | str:
        """Submit octets and wait for the answer."""
        self.start(octets, locality)
        return self.answer()

    def terminate(self) -> None:
        """SIGTERM: QEMU must heed it."""
        self.process.terminate()
        try:
            self.process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError("QEMU ignores SIGTERM") from None

    def _line(self, deadline: float) -> str:
        while b"\n" not in self._lines:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._serial], [], [], left)[0]:
                raise SilentError(self._lines[-200:])
            data = self._serial.recv(65536)
            if not data:
                raise GuestError(f"QEMU ended: {self._errors.read_text(errors='replace')}")
            self._lines += data
        line, self._lines = self._lines.split(b"\n", 1)
        return line.decode(errors="replace").strip("\r")
