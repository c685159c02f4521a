"""Unlock: try at once to get the keys of locked instances."""

import trio

from vtpmd.api import names
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import InstanceInfo, UnlockRequest, UnlockResult
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.refusals import refusals

from .describe import describe
from .progress import Tell, Tracker, silent


async def unlock(fleet: Fleet, name: str) -> InstanceInfo:
    """Unlock one instance. Raises OperationError."""
    instance = fleet.find(name)
    with refusals():
        await instance.unlock()
    return await describe(fleet, instance)


async def unlock_all(fleet: Fleet, request: UnlockRequest, tell: Tell = silent) -> UnlockResult:
    """Unlock all locked instances at once, or those whose key one provider holds."""
    unlocked: list[str] = []
    locked = [
        instance
        for instance in fleet
        if instance.condition.state == names.LOCKED
        and request.provider in (None, instance.metadata.provider)
    ]
    tracker = Tracker(len(locked), tell)

    async def attempt(instance: Instance) -> None:
        name = instance.metadata.name
        try:
            with refusals():
                await instance.unlock()
        except OperationError as refused:
            tracker.done(name, refused)
        else:
            unlocked.append(name)
            tracker.done(name)

    async with trio.open_nursery() as nursery:
        for instance in locked:
            nursery.start_soon(attempt, instance)
    return UnlockResult(unlocked=tuple(unlocked), failed=tuple(tracker.failed))
