"""A powered-on TPM with a persistent data channel, as QEMU holds it."""

import time

from tests.peers.client import SHUTDOWN_CLEAR, STARTUP_CLEAR, Control
from tests.peers.instance import Instance


class Target:
    """One instance under measurement."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
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

    def close(self) -> None:
        self._data.close()
        self._control.close()
