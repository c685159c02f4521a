"""Hosts of their own on which the commands of a page are typed: `enter.sh` has how."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DEADLINE = 90.0
PASSPHRASE = "correct horse battery staple"
_ENTER = Path(__file__).with_name("enter.sh")
_ASKS = re.compile(rb"(?:Passphrase|confirmation): ")


class Host:
    """A shell on a host, which keeps its variables from one command to the next.

    `directory` is the host's own; commands are typed in `work`, which hosts may share, so that no
    file need be carried. Both exist. `programs` come first on its PATH: name and shell script.
    """

    def __init__(
        self,
        directory: Path,
        work: Path,
        programs: Mapping[str, str],
        environment: Mapping[str, str],
    ) -> None:
        self._directory = directory
        binaries = directory / "bin"
        binaries.mkdir()
        for name, text in programs.items():
            (binaries / name).write_text(f"#!/bin/sh\n{text}\n")
            (binaries / name).chmod(0o755)
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        self._terminal, terminal = pty.openpty()
        self._process = subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"),
                *("setsid", "--ctty", "bash", str(_ENTER), str(directory), str(work)),
                *(str(REPOSITORY), sys.prefix, str(orders), str(answers)),
            ],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            pass_fds=(orders, answers),
            env={**os.environ, **environment},
        )
        for descriptor in (orders, answers, terminal):
            os.close(descriptor)
        self._count = 0
        self._said = b""

    def run(self, command: str) -> tuple[int, str]:
        """Carry a command out; its exit status, and what it has printed.

        Who asks for a passphrase on the terminal is given one. Raises AssertionError when it takes
        too long, or ends the shell.
        """
        self._count += 1
        order = self._directory / f"order-{self._count}"
        order.write_text(f"{command}\n")
        os.write(self._orders, f"{order}\n".encode())
        status = self._answer(command)
        return status, order.with_name(f"{order.name}.out").read_text(errors="replace")

    def _answer(self, command: str) -> int:
        deadline = time.monotonic() + DEADLINE
        answer = b""
        while not answer.endswith(b"\n"):
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._answers, self._terminal], [], [], max(left, 0))
            assert ready, f"takes longer than {DEADLINE:.0f} s: {command}\n{self._said.decode()}"
            if self._terminal in ready:
                self._talk()
            if self._answers in ready:
                answer += (more := os.read(self._answers, 100))
                assert more, f"has ended the shell: {command}\n{self._said.decode()}"
        return int(answer)

    def _talk(self) -> None:
        """Read what is said on the terminal; answer who asks for a passphrase there."""
        try:
            said = os.read(self._terminal, 4096)
        except OSError:  # nobody has the other end
            return
        self._said += said
        for _ in range(len(_ASKS.findall(said))):
            os.write(self._terminal, f"{PASSPHRASE}\n".encode())

    def close(self) -> None:
        """End everything that runs there."""
        self._process.kill()
        self._process.wait()
        for descriptor in (self._orders, self._answers, self._terminal):
            os.close(descriptor)
