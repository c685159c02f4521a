"""What the workers of an instance report, in the log: bounded, and labelled as theirs.

A worker may be in the hands of its guest, so whose a line is comes from the daemon and the kernel,
never from the worker.
"""

from collections.abc import Callable
from typing import Any

import trio

from vtpmd.ipc.events import UNWANTED
from vtpmd.ipc.messages import ALARMS, STORAGE, Event
from vtpmd.ipc.quota import INTERVAL, MAX_DETAIL, supervisors_quota

MAX_KIND = 64

OnEvent = Callable[[int, Event], bool]
"""Is given a worker's process id and event; whether that was within what it may report."""


class EventLog:
    """Writes the events of one instance's workers to `log`, which is bound to the instance."""

    __slots__ = ("_log", "_nursery", "_quota")

    def __init__(self, nursery: trio.Nursery, log: Any) -> None:
        self._nursery = nursery
        self._log = log
        self._quota = supervisors_quota()

    def write(self, pid: int, event: Event) -> bool:
        """Log an event, or only count it, of which the count is logged at the interval's end."""
        waiting = self._quota.due is not None
        if not self._quota.admits(event.kind, trio.current_time()):
            if not waiting:
                self._nursery.start_soon(self._tell_suppressed, pid)
            return False
        level = self._log.error if event.kind in ALARMS else self._log.info
        if event.kind in STORAGE or event.kind in UNWANTED:
            level = self._log.warning
        kind, detail = event.kind[:MAX_KIND], event.detail[:MAX_DETAIL]
        level("worker-event", pid=pid, kind=kind, detail=detail)
        return True

    async def _tell_suppressed(self, pid: int) -> None:
        try:
            await trio.sleep(INTERVAL)
        finally:
            count = self._quota.suppressed()
            self._log.warning("worker-events-suppressed", pid=pid, count=count)
