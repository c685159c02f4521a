"""The newest events of all instances, remembered for whoever asks what has happened."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal
from uuid import UUID

import trio

from vtpmd.api.text import printable

from .metadata import Metadata

CAPACITY: Final = 2000
MAX_KIND, MAX_DETAIL = 64, 1000

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Noted:
    """An event with its number; the texts are printable."""

    number: int
    time: datetime
    severity: Severity
    instance: str
    uuid: UUID
    kind: str
    detail: str


class Journal:
    """Numbers events and keeps the newest; `last` is the number of the newest one."""

    def __init__(self) -> None:
        self._events: deque[Noted] = deque(maxlen=CAPACITY)
        self._more = trio.Event()
        self.last = 0

    def note(self, metadata: Metadata, severity: Severity, kind: str, detail: str) -> None:
        """Remember an event, and wake who waits for it."""
        self.last += 1
        texts = printable(kind[:MAX_KIND]), printable(detail[:MAX_DETAIL])
        whose = metadata.name, metadata.uuid
        self._events.append(Noted(self.last, datetime.now(UTC), severity, *whose, *texts))
        self._more.set()
        self._more = trio.Event()

    def after(self, number: int, wanted: Callable[[Noted], bool]) -> list[Noted]:
        """Those that are remembered and came after that number.

        A number that was not reached yet is one of the daemon before: all are newer.
        """
        number = 0 if number > self.last else number
        return [event for event in self._events if event.number > number and wanted(event)]

    async def more(self) -> None:
        """Wait for another event."""
        await self._more.wait()
