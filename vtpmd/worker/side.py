"""One thread for the commands that take long, so that the loop keeps answering meanwhile."""

import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .errors import EXIT_FAILED

T = TypeVar("T")


@dataclass(frozen=True)
class _Outcome(Generic[T]):
    value: T | None
    error: BaseException | None


class SideThread(Generic[T]):
    """Runs one job at a time. Its descriptor is readable once the job is done.

    Must be started before the sandbox forbids new threads; it ends with the process.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[_Outcome[T]] = queue.SimpleQueue()
        self._done, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._work, name="side", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Close the descriptors of one that has not been started."""
        os.close(self._done)
        os.close(self._wake)

    def fileno(self) -> int:
        return self._done

    def submit(self, job: Callable[[], T]) -> None:
        """Hand over a job; the caller must have taken the outcome of the one before."""
        self._jobs.put(job)

    def outcome(self) -> T:
        """What the finished job returned; raises what it raised. Waits if it is not done."""
        os.read(self._done, 1)
        outcome = self._outcomes.get()
        if outcome.error is not None:
            raise outcome.error
        return outcome.value  # type: ignore[return-value]

    def _work(self) -> None:
        try:
            while True:
                job = self._jobs.get()
                try:
                    outcome = _Outcome(job(), None)
                except BaseException as error:
                    outcome = _Outcome(None, error)
                self._outcomes.put(outcome)
                os.write(self._wake, b"\0")
        except BaseException:  # no memory even for that: better ended than waited for in vain
            os._exit(EXIT_FAILED)
