"""A circuit breaker: a service that keeps failing is not asked again for a while.

    closed ──threshold failures in a row──▶ open ──pause over──▶ one attempt as probe
       ▲                                     ▲                        │
       └──────────────success────────────────┼────────────────────────┤
                                             └─────failure, pause doubled

Without it, every instance that starts while a key service hangs would wait for its own timeout.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from .errors import KeyUnavailableError

THRESHOLD = 3
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 60.0


class Breaker:
    """Guards the attempts to use one service, which reasons call `service`.

    `threshold` failures in a row open it; pauses are in seconds, by trio's clock, and double from
    `first_pause` up to `longest_pause`.
    """

    def __init__(
        self,
        service: str,
        threshold: int = THRESHOLD,
        first_pause: float = FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self._service = service
        self._threshold = threshold
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._failures = 0
        self._reason = ""
        self._until = 0.0
        self._pause = first_pause
        self._probing = False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Run one attempt; raises KeyUnavailableError without running it while the breaker is open.

        A KeyUnavailableError that may be retried is a failure. Every other end of the attempt but
        its cancellation is a success: the service answered, even if it refused.
        """
        probing = self._opened()
        try:
            yield
        except trio.Cancelled:
            raise
        except KeyUnavailableError as error:
            if error.retry:
                self._failed(error.reason, probing)
            else:
                self._succeeded()
            raise
        except Exception:
            self._succeeded()
            raise
        else:
            self._succeeded()
        finally:
            if probing:
                self._probing = False

    def _opened(self) -> bool:
        """Whether this attempt probes an open breaker. Raises KeyUnavailableError if none may."""
        if self._failures < self._threshold:
            return False
        remaining = self._until - trio.current_time()
        if remaining <= 0 and not self._probing:
            self._probing = True
            return True
        when = f"in {remaining:.0f} s" if remaining > 0 else "now"
        raise KeyUnavailableError(
            f"{self._service} failed {self._failures} times in a row and is tried again {when}; "
            f"the last time: {self._reason}",
            retry=True,
        )

    def _failed(self, reason: str, probing: bool) -> None:
        self._failures += 1
        self._reason = reason
        # An attempt that was under way when the breaker opened is not another sign of failure.
        if probing or self._failures == self._threshold:
            self._until = trio.current_time() + self._pause
            self._pause = min(2 * self._pause, self._longest_pause)

    def _succeeded(self) -> None:
        self._failures = 0
        self._pause = self._first_pause
