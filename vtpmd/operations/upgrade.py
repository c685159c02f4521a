"""Upgrade: fresh processes, of the daemon's version, go on with what is served and what sleeps."""

import trio

from vtpmd.api import names
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import Upgraded, UpgradeResult
from vtpmd.supervisor.errors import KeeperLostError
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.refusals import refusals
from vtpmd.telemetry.log import get_logger

from .progress import Tell, Tracker, silent

log = get_logger("upgrade")

_AT_ONCE = 2
"""How many instances are upgraded side by side: more would only lengthen each one's pause."""


async def upgrade(fleet: Fleet, name: str) -> Upgraded:
    """Replace the worker of one instance, whose clients stay connected. Raises OperationError."""
    return await _upgrade(fleet.find(name))


async def upgrade_all(fleet: Fleet, tell: Tell = silent) -> UpgradeResult:
    """Replace the keeper, and the workers of all running instances.

    What sleeps goes on sleeping where its keeper could be replaced, and is woken otherwise.
    """
    upgraded: list[Upgraded] = []
    asleep: list[str] = []
    replaced = await _replace_keeper(fleet)
    running = []
    for instance in fleet:
        if instance.asleep and replaced:
            asleep.append(instance.metadata.name)
        elif instance.condition.state == names.RUNNING:
            running.append(instance)
    tracker = Tracker(len(running), tell)
    limit = trio.CapacityLimiter(_AT_ONCE)

    async def attempt(instance: Instance) -> None:
        try:
            async with limit:
                result = await _upgrade(instance)
        except OperationError as refused:
            tracker.done(instance.metadata.name, refused)
        else:
            upgraded.append(result)
            tracker.done(result.name)

    async with trio.open_nursery() as nursery:
        for instance in running:
            nursery.start_soon(attempt, instance)
    return UpgradeResult(
        upgraded=tuple(sorted(upgraded, key=lambda each: each.name)),
        failed=tuple(sorted(tracker.failed, key=lambda each: each.name)),
        asleep=tuple(asleep),
    )


async def _replace_keeper(fleet: Fleet) -> bool:
    """Whether what sleeps is kept by a fresh keeper."""
    if fleet.host.keeper is None:
        return False
    try:
        await fleet.host.keeper.replace()
    except KeeperLostError as error:
        log.warning("keeper-not-replaced", reason=str(error))
        return False
    return True


async def _upgrade(instance: Instance) -> Upgraded:
    with refusals():
        pid, pause = await instance.upgrade()
    metadata = instance.metadata
    return Upgraded(name=metadata.name, uuid=metadata.uuid, pid=pid, pause_ms=round(pause * 1000))
