"""How much a worker may report: by itself, and as far as a supervisor listens to one.

Both ends count, since a worker may be in the hands of a guest; the supervisor allows more, so that
it never has to refuse a worker that keeps to its own quota.
"""

from dataclasses import dataclass, field

from .events import ALARMS, UNWANTED

MAX_DETAIL = 4000
"""Characters of an event's detail; what is longer is cut off."""
INTERVAL = 10.0
"""Seconds after which it is told how much was suppressed."""
_UNWANTED_SHARE = 0.25
"""How much of what may be told of all else may be told of unwanted clients."""


@dataclass(slots=True)
class Bucket:
    """A token bucket: `burst` at once and `rate` a second. Times are monotonic seconds."""

    burst: float
    rate: float
    _tokens: float = field(init=False)
    _since: float = 0.0

    def __post_init__(self) -> None:
        self._tokens = self.burst

    def take(self, now: float) -> bool:
        """Take one token if there is one."""
        gained = max(0.0, now - self._since) * self.rate
        self._tokens = min(self.burst, self._tokens + gained)
        self._since = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Quota:
    """Admits events of one worker or instance, and counts the others.

    Alarms have a bucket of their own, and so has what clients bring about unwanted: whoever makes
    much noise silences nothing else, and is told of rarely.
    """

    __slots__ = ("_alarms", "_others", "_suppressed", "_unwanted", "due")

    def __init__(self, burst: float, rate: float) -> None:
        self._alarms = Bucket(burst, rate)
        self._others = Bucket(burst, rate)
        self._unwanted = Bucket(burst * _UNWANTED_SHARE, rate * _UNWANTED_SHARE)
        self._suppressed = 0
        self.due: float | None = None
        """When `suppressed` has something to tell; None while there is nothing."""

    def admits(self, kind: str, now: float) -> bool:
        """Whether an event of this kind may be told; it is counted if not."""
        if self._bucket_of(kind).take(now):
            return True
        self._suppressed += 1
        if self.due is None:
            self.due = now + INTERVAL
        return False

    def suppressed(self) -> int:
        """How many events were not admitted since this was asked last."""
        count, self._suppressed, self.due = self._suppressed, 0, None
        return count

    def _bucket_of(self, kind: str) -> Bucket:
        if kind in ALARMS:
            return self._alarms
        return self._unwanted if kind in UNWANTED else self._others


def workers_quota() -> Quota:
    """What a worker keeps to."""
    return Quota(20, 1.0)


def supervisors_quota() -> Quota:
    """What is logged of one instance's workers."""
    return Quota(40, 2.0)
