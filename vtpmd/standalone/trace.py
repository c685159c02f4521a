"""What the log tells of each request: names, response codes and reasons, never contents."""

import time
from typing import Any

from vtpmd.telemetry.coalesce import INTERVAL, Coalescer
from vtpmd.tpm.engine import command_name, response_name


class Trace:
    """Implements `worker.observer.Observer`.

    What was answered TPM_RC_FAILURE is told whatever the level: the first time at once, and how
    often it was repeated when that is told next, or at the end.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._failures: Coalescer[tuple[str, str]] = Coalescer(self._summarize)
        self._summarized = time.monotonic()

    def executed(self, command_code: bytes, locality: int, response_code: int, why: str) -> None:
        name = command_name(int.from_bytes(command_code)) if command_code else "no command"
        response = response_name(response_code)
        self._log.debug("tpm-command", command=name, locality=locality, response=response)
        if why:
            self._tell_failure(name, why)

    def controlled(self, name: str, result: int) -> None:
        self._log.debug("control-command", command=name, result=f"0x{result:x}")

    def close(self) -> None:
        """Tell what was only counted."""
        self._failures.flush()

    def _tell_failure(self, name: str, why: str) -> None:
        if time.monotonic() - self._summarized >= INTERVAL:
            self._failures.flush()
            self._summarized = time.monotonic()
        if self._failures.is_first((name, why)):
            self._log.error("answered-failure", command=name, why=why)

    def _summarize(self, failure: tuple[str, str] | None, count: int, seconds: float) -> None:
        name, why = failure or ("several", "several reasons")
        self._log.error(
            "answered-failure", command=name, why=why, times=count, seconds=round(seconds)
        )
