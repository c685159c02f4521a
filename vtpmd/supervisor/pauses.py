"""How long to wait after each kind of failure to serve an instance."""

from collections.abc import Callable

from .backoff import Backoff
from .states import Cause

MAX_CRASHES = 5
SLOW = 60.0  # seconds between attempts after that many in ten minutes
_BACKOFFS: dict[Cause, Callable[[], Backoff]] = {
    Cause.KEY_UNAVAILABLE: lambda: Backoff(1.0, 60.0),
    Cause.REFUSED: lambda: Backoff(0.5, 30.0, MAX_CRASHES, SLOW),
    Cause.CRASHED: lambda: Backoff(0.5, 30.0, MAX_CRASHES, SLOW),
}


class Pauses:
    """What counts the failures of one serving, by their cause."""

    def __init__(self) -> None:
        self._backoffs: dict[Cause, Backoff] = {}

    def of(self, cause: Cause) -> Backoff:
        """What counts these failures, made with the first: most instances have none."""
        if cause not in self._backoffs:
            self._backoffs[cause] = _BACKOFFS[cause]()
        return self._backoffs[cause]

    def clear(self) -> None:
        """Begin anew."""
        self._backoffs.clear()
