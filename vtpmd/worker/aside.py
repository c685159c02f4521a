"""Whoever comes beside the machine that has the TPM: its commands do not wait for them."""

import selectors
import time
from typing import Final

from .loop import Loop, Selector

SHARE: Final = 20
"""While a machine has the TPM, others get one in so many parts of the worker's time at most."""


class Aside(Selector):
    """Descriptors that are served one at a time. A part of the loop, and watched by it.

    While it is `limited`, it rests after each, in proportion to how long that took. What is sent
    meanwhile waits in the kernel, and so do its senders.
    """

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop
        self.limited = False
        self.deadline: float | None = None
        self._go_on()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def tick(self, now: float) -> None:
        """Go on after a rest."""
        if self.deadline is not None and self.deadline <= now:
            self.deadline = None
            self._go_on()

    def close(self) -> None:
        self._loop.forget(self)
        super().close()

    def _go_on(self) -> None:
        self._loop.watch(self, selectors.EVENT_READ, self._serve)

    def _serve(self) -> None:
        began = time.monotonic()
        for fd, _ in self._epoll.poll(0, 1):
            self._callbacks[fd]()
        if self.limited:
            now = time.monotonic()
            self._loop.forget(self)
            self.deadline = now + (SHARE - 1) * (now - began)
