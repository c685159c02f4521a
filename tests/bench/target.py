"""A powered-on TPM with a persistent data channel, as QEMU holds it."""

import time
from pathlib import Path
from typing import Protocol

from tests.peers.client import CMD_SHUTDOWN, SHUTDOWN_CLEAR, STARTUP_CLEAR, Control


class Controlled(Protocol):
    """A TPM by its control socket."""

    @property
    def control(self) -> Path: ...


class Target:
    """One TPM under measurement."""

    def __init__(self, instance: Controlled) -> None:
        self._control = Control(instance.control, timeout=120)
        self._data = self._control.data_channel()
        self._control.power_on()

    def execute(self, command: bytes) -> bytes:
        return self._data.execute(command)

    def timed(self, command: bytes) -> tuple[float, bytes]:
        """Seconds between command and response, and the response."""
        began = time.perf_counter()
        answer = self._data.execute(command)
        return time.perf_counter() - began, answer

    def startup(self) -> None:
        self.execute(STARTUP_CLEAR)

    def reset(self) -> None:
        """Orderly shutdown and _TPM_Init; TPM2_Startup is left to the caller."""
        self.execute(SHUTDOWN_CLEAR)
        self._control.power_on()

    def end(self) -> None:
        """CMD_SHUTDOWN: power off, and what serves it may end."""
        self._control.command(CMD_SHUTDOWN)

    def close(self) -> None:
        self._data.close()
        self._control.close()
