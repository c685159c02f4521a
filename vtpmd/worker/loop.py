"""One thread, one selector: descriptors, deadlines and signals, until the end is asked for."""

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Part(Protocol):
    """Something that is looked after once in every round.

    `deadline`: monotonic seconds at which the next round begins at the latest, or None.
    """

    @property
    def deadline(self) -> float | None: ...
    def tick(self, now: float) -> None: ...


class Loop:
    """Calls back for whatever is ready. `ending` is set by `request_end`, for a part to act on."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._watched: dict[HasFileno | int, int] = {}
        self.ending = False
        self._ended = False

    def watch(self, what: HasFileno | int, events: int, callback: Callable[[], None]) -> None:
        """Wait for exactly `events` of `what` from now on."""
        watched = self._watched.get(what, 0)
        if watched == events:
            return
        if not watched:
            self._selector.register(what, events, callback)
        elif events:
            self._selector.modify(what, events, callback)
        else:
            self._selector.unregister(what)
        self._watched[what] = events

    def forget(self, what: HasFileno | int) -> None:
        """Stop waiting for something whose descriptor is, or is about to be, free for another."""
        if self._watched.pop(what, 0):
            self._selector.unregister(what)

    def run(self, parts: Sequence[Part], signals: Sequence[signal.Signals]) -> None:
        """Go round until `end`. Each of these signals is a `request_end`."""
        with _signals(signals, self.request_end) as wake:
            self.watch(wake, selectors.EVENT_READ, lambda: _drain(wake))
            while True:
                for part in parts:
                    part.tick(time.monotonic())
                if self._ended:
                    break
                for key, _ in self._selector.select(_timeout(parts)):
                    key.data()
        self._selector.close()

    def request_end(self) -> None:
        """Ask the loop to end in order; may be repeated, and called from a signal handler."""
        self.ending = True

    def end(self) -> None:
        """Leave the loop after this round."""
        self._ended = True


def _timeout(parts: Sequence[Part]) -> float | None:
    deadlines = [part.deadline for part in parts if part.deadline is not None]
    return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None


@contextlib.contextmanager
def _signals(numbers: Sequence[signal.Signals], on_terminate: Callable[[], None]) -> Iterator[int]:
    """Each of these signals calls `on_terminate` and makes the yielded descriptor readable."""
    wake, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in numbers:
        signal.signal(number, lambda *_: on_terminate())
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield wake
    finally:
        signal.set_wakeup_fd(-1)
        os.close(wake)
        os.close(writer)


def _drain(wake: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(wake, 512)
