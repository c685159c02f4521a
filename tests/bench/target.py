"""A powered-on TPM with a persistent data channel, as QEMU holds it."""

import time
from pathlib import Path
from typing import Protocol

from tests.bench.processes import cpu_seconds
from tests.peers.client import CMD_SHUTDOWN, SHUTDOWN_CLEAR, STARTUP_CLEAR, Control


class Controlled(Protocol):
    """A TPM by its control socket."""

    @property
    def control(self) -> Path: ...


class Target:
    """One TPM under measurement.

    `cpu`: seconds of CPU time that `process`, which serves it, has spent on timed commands.
    """

    def __init__(self, instance: Controlled, process: int | None = None) -> None:
        self._control = Control(instance.control, timeout=120)
        self.data = self._control.data_channel()
        self._control.power_on()
        self._process = process
        self._cpu_before = 0.0
        self._spent()
        self.cpu = 0.0

    def execute(self, command: bytes) -> bytes:
        answer = self.data.execute(command)
        self._spent()
        return answer

    def timed(self, command: bytes) -> tuple[float, bytes]:
        """Seconds between command and response, and the response."""
        began = time.perf_counter()
        answer = self.data.execute(command)
        seconds = time.perf_counter() - began
        self.cpu += self._spent()
        return seconds, answer

    def _spent(self) -> float:
        """CPU seconds since the response before; what follows a response counts for the next."""
        if self._process is None:
            return 0.0
        before, self._cpu_before = self._cpu_before, cpu_seconds(self._process)
        return self._cpu_before - before

    def startup(self) -> None:
        self.execute(STARTUP_CLEAR)

    def reset(self) -> None:
        """Orderly shutdown and _TPM_Init; TPM2_Startup is left to the caller."""
        self.execute(SHUTDOWN_CLEAR)
        self._control.power_on()
        self._spent()

    def end(self) -> None:
        """CMD_SHUTDOWN: power off, and what serves it may end."""
        self._control.command(CMD_SHUTDOWN)

    def close(self) -> None:
        self.data.close()
        self._control.close()
