"""Watch over workers: each is asked now and then how it is, and one that does not answer is told.

Nobody is killed for that: what a worker has answered is durable, but a machine may be waiting for
it. One task looks after all, and waits for no answer; it is the worker's question that is overdue.
It sleeps while nothing is due: a host whose TPMs are idle has its processors for its machines.
"""

import math
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import trio

from .instance_log import log_of
from .metadata import Metadata
from .worker import Worker

ROUND: Final = 1.0
"""Seconds between two looks at all instances, at least."""
LONGEST_ROUND: Final = 5.0
"""At most: whoever else asks a worker, and whatever it says unasked, may make something due."""
_TOGETHER = 50  # that are looked at before others may go on


class Watched(Protocol):
    """An instance."""

    def look(self) -> float:
        """Look after it; when that has to be done again, on trio's clock."""


async def watch(instances: Iterable[Watched]) -> None:
    """Look after each of these instances, of which there may be others each time, for ever."""
    due = trio.current_time() + ROUND
    while True:
        now = trio.current_time()
        await trio.sleep_until(min(max(due, now + ROUND), now + LONGEST_ROUND))
        due = trio.current_time() + LONGEST_ROUND
        for number, instance in enumerate(instances):
            due = min(due, instance.look())
            if number % _TOGETHER == 0:
                await trio.lowlevel.checkpoint()


def look_after(worker: Worker | None, metadata: Metadata, reason: Callable[[], str]) -> float:
    """Ask the worker of an instance now and then how it is; log its silence, and the end of that.

    Returns when to look again, on trio's clock. `reason` says what is wrong, for people.
    """
    if worker is None:
        return math.inf
    if worker.look():
        event = "worker-silent" if worker.silent else "worker-answers"
        log_of(metadata).warning(event, pid=worker.pid, reason=reason())
    return worker.due
