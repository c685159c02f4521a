"""Another machine on the same host, whose TPM is used all the time."""

import threading
from types import TracebackType
from typing import Self

from tests.faults.machine import RANDOM, Machine
from tests.peers.vtpmd import VtpmdInstance

PAUSE = 0.005
SOON = 10.0


class Bystander:
    """While entered, sends command after command; each must be answered well by the same worker."""

    def __init__(self, instance: VtpmdInstance) -> None:
        self.instance = instance
        self._machine = Machine(instance, SOON)
        self._worker = instance.process()
        self._thread = threading.Thread(target=self._use)
        self._enough = threading.Event()
        self._trouble: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._enough.set()
        self._thread.join()
        self._machine.close()
        if error is None:
            self._judge()

    def check(self) -> None:
        """So far, every command was answered well."""
        assert self._trouble is None, repr(self._trouble)

    def _use(self) -> None:
        try:
            while not self._enough.wait(PAUSE):
                self._machine.succeed(RANDOM)
            self._machine.succeed(RANDOM)  # after all that has happened, too
        except Exception as trouble:
            self._trouble = trouble

    def _judge(self) -> None:
        self.check()
        assert self.instance.process() == self._worker
