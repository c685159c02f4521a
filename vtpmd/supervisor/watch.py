"""Watch over workers: each is asked now and then how it is, and one that does not answer is told.

Nobody is killed for that: what a worker has answered is durable, but a machine may be waiting for
it. One task looks after all, and waits for no answer; it is the worker's question that is overdue.
"""

from collections.abc import Iterable
from typing import Final, Protocol

import trio

ROUND: Final = 1.0
"""Seconds between two looks at all instances."""


class Watched(Protocol):
    """An instance."""

    def look(self) -> None: ...


async def watch(instances: Iterable[Watched]) -> None:
    """Look after each of these instances, of which there may be others each time, for ever."""
    while True:
        await trio.sleep(ROUND)
        for instance in instances:
            instance.look()
            await trio.lowlevel.checkpoint()
