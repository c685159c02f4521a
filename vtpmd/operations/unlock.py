"""Unlock: try at once to get the keys of locked instances."""

import trio

from vtpmd.api import names
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import Failure, InstanceInfo, UnlockRequest, UnlockResult
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.refusals import refusals

from .describe import describe


async def unlock(fleet: Fleet, name: str) -> InstanceInfo:
    """Unlock one instance. Raises OperationError."""
    instance = fleet.find(name)
    with refusals():
        await instance.unlock()
    return await describe(fleet, instance)


async def unlock_all(fleet: Fleet, request: UnlockRequest) -> UnlockResult:
    """Unlock all locked instances at once, or those whose key one provider holds."""
    unlocked: list[str] = []
    failed: list[Failure] = []

    async def attempt(instance: Instance) -> None:
        name = instance.metadata.name
        try:
            with refusals():
                await instance.unlock()
            unlocked.append(name)
        except OperationError as refused:
            failed.append(Failure(name=name, code=refused.problem.code, detail=refused.detail))

    async with trio.open_nursery() as nursery:
        for instance in fleet:
            provider = instance.metadata.provider
            if instance.condition.state == names.LOCKED and request.provider in (None, provider):
                nursery.start_soon(attempt, instance)
    return UnlockResult(unlocked=tuple(unlocked), failed=tuple(failed))
