"""How long to wait before the next attempt, and when to hurry no longer."""

from collections import deque

import trio


class Backoff:
    """Delays in seconds that double from `first` to `longest`.

    With a `limit`, the delay is `slow` when that many attempts fall into `window` seconds; the
    delays start anew after a quiet window.
    """

    def __init__(
        self,
        first: float,
        longest: float,
        limit: int | None = None,
        slow: float = 60.0,
        window: float = 600.0,
    ) -> None:
        self._first = first
        self._longest = longest
        self._limit = limit
        self._window = window
        self._slow = slow
        self.exhausted = False
        """Whether the last delay was the slow one."""
        self._times: deque[float] = deque(maxlen=64)

    def next(self) -> float:
        """The delay before the next attempt."""
        now = trio.current_time()
        while self._times and now - self._times[0] > self._window:
            self._times.popleft()
        attempts = len(self._times)
        self._times.append(now)
        self.exhausted = self._limit is not None and attempts >= self._limit
        if self.exhausted:
            return self._slow
        return min(self._first * 2.0**attempts, self._longest)

    def outlook(self, delay: float) -> str:
        """What comes next, `delay` being the last one, for the end of a reason."""
        if not self.exhausted:
            return f"; next attempt in {delay:.1f} s"
        return (
            f"; tried again {self._limit} times lately, so now only every {delay:.0f} s, and "
            "whoever connects is turned away: see the log"
        )
