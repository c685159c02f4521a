"""Repeated events: the first is recorded at once, those that follow as a count."""

import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

INTERVAL: Final = 60.0
"""Seconds between two calls of `Coalescer.flush`."""

CAPACITY: Final = 64


class _Count:
    def __init__(self, since: float) -> None:
        self.since = since
        self.events = 0


class Coalescer(Generic[Key]):
    """Decides which events are recorded one by one, and counts all others.

    The first event of a key is recorded by itself; those that follow are counted until `flush`
    hands `summarize` the key, the count and the seconds it covers. At most `capacity` keys are
    remembered. Events of further keys are counted together, under the key None.
    """

    def __init__(
        self,
        summarize: Callable[[Key | None, int, float], None],
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._summarize = summarize
        self._capacity = capacity
        self._clock = clock
        self._counts: dict[Key, _Count] = {}
        self._others = _Count(clock())

    def is_first(self, key: Key) -> bool:
        """Whether to record this event by itself; it is counted if not."""
        if (count := self._counts.get(key)) is None:
            if len(self._counts) < self._capacity:
                self._counts[key] = _Count(self._clock())
                return True
            count = self._others
        count.events += 1
        return False

    def flush(self) -> None:
        """Summarize what has been counted, and forget the keys of which nothing has."""
        now = self._clock()
        counted = [(key, count) for key, count in self._counts.items() if count.events]
        others, self._others = self._others, _Count(now)
        self._counts = {key: _Count(now) for key, _ in counted}
        for key, count in counted:
            self._summarize(key, count.events, now - count.since)
        if others.events:
            self._summarize(None, others.events, now - others.since)
