"""One thread, one selector: descriptors, deadlines and signals, until the end is asked for."""

import contextlib
import os
import select
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

_MAX_EVENTS = 64
_EPOLL = {
    selectors.EVENT_READ: select.EPOLLIN,
    selectors.EVENT_WRITE: select.EPOLLOUT,
    selectors.EVENT_READ | selectors.EVENT_WRITE: select.EPOLLIN | select.EPOLLOUT,
}

Callback = Callable[[], bool | None]
"""Returns True if nothing has changed that a part of the loop would have to see to."""


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Part(Protocol):
    """Something that is looked after when anything may have changed, and at its `deadline`.

    `deadline`: in monotonic seconds; None if there is none.
    """

    @property
    def deadline(self) -> float | None: ...
    def tick(self, now: float) -> None: ...


class Selector:
    """Descriptors that are waited for, and what is called back for each."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[HasFileno | int, tuple[int, int]] = {}
        self._callbacks: dict[int, Callback] = {}

    def watch(self, what: HasFileno | int, events: int, callback: Callback) -> None:
        """Wait for exactly `events` (of `selectors`) of `what` from now on."""
        fd, watched = self._watched.get(what, (-1, 0))
        if watched == events:
            return
        if not events:
            self.forget(what)
            return
        if watched:
            self._epoll.modify(fd, _EPOLL[events])
        else:
            fd = what if isinstance(what, int) else what.fileno()
            self._epoll.register(fd, _EPOLL[events])
        self._watched[what] = fd, events
        self._callbacks[fd] = callback

    def forget(self, what: HasFileno | int) -> None:
        """Stop waiting for something whose descriptor is about to be free for another.

        The kernel goes on with a descriptor that is closed first if others hold its open file.
        """
        fd, watched = self._watched.pop(what, (-1, 0))
        if watched:
            del self._callbacks[fd]
            with contextlib.suppress(OSError):  # closed already
                self._epoll.unregister(fd)

    def close(self) -> None:
        """Wait for nothing any more."""
        self._watched.clear()
        self._epoll.close()


class Loop(Selector):
    """Calls back for whatever is ready. `ending` is set by `request_end`, for a part to act on."""

    def __init__(self) -> None:
        super().__init__()
        self._attention = False
        self.ending = False
        self._ended = False

    def attend(self) -> None:
        """Look after all parts before the loop waits again, whatever the callbacks return."""
        self._attention = True

    def run(self, parts: Sequence[Part], signals: Sequence[signal.Signals]) -> None:
        """Go round until `end`. Each of these signals is a `request_end`."""
        with _signals(signals, self.request_end) as wake:
            self.watch(wake, selectors.EVENT_READ, lambda: _drain(wake))
            while True:
                for part in parts:
                    part.tick(time.monotonic())
                if self._ended:
                    break
                self._serve(_earliest(parts))
        self.close()

    def _serve(self, deadline: float | None) -> None:
        """Wait and call back, until there may be something to look after or `deadline`."""
        self._attention = False
        poll, callbacks = self._epoll.poll, self._callbacks
        timeout = None
        while True:
            if deadline is not None:
                timeout = deadline - time.monotonic()
                if timeout <= 0:
                    timeout, self._attention = 0.0, True
            for fd, _ in poll(timeout, _MAX_EVENTS):
                callback = callbacks.get(fd)  # none if one before has forgotten it
                if callback is None or not callback():
                    self._attention = True
            if self._attention:
                return

    def request_end(self) -> None:
        """Ask the loop to end in order; may be repeated, and called from a signal handler."""
        self.ending = True

    def end(self) -> None:
        """Leave the loop after this round."""
        self._ended = True


def _earliest(parts: Sequence[Part]) -> float | None:
    deadlines = [part.deadline for part in parts]
    return min((deadline for deadline in deadlines if deadline is not None), default=None)


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
