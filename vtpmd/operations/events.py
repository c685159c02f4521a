"""Events: what has happened to instances, as far as it is remembered."""

import trio

from vtpmd.api.schema import EventInfo, EventList, EventsRequest
from vtpmd.api.watching import MAX_WAIT
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.journal import Noted


async def events(fleet: Fleet, request: EventsRequest) -> EventList:
    """Those after a number; waits for one if there is none."""
    journal = fleet.host.journal

    def wanted(event: Noted) -> bool:
        return request.instance in (None, event.instance, str(event.uuid))

    found = journal.after(request.after, wanted)
    with trio.move_on_after(min(request.wait, MAX_WAIT)):
        while not found and request.wait > 0:
            await journal.more()
            found = journal.after(request.after, wanted)
    return EventList(events=tuple(map(_shown, found)), last=journal.last)


def _shown(event: Noted) -> EventInfo:
    return EventInfo(
        number=event.number,
        time=event.time,
        severity=event.severity,
        instance=event.instance,
        uuid=event.uuid,
        kind=event.kind,
        detail=event.detail,
    )
