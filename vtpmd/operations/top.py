"""Top: how much each instance is used."""

import time
from typing import Final

import trio

from vtpmd.api.schema import InstanceUsage, UsageList
from vtpmd.ipc.tally import RESPONSE_CLASSES
from vtpmd.linux.usage import private_memory
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.instance import Instance

_SLICE: Final = 20
_SUCCESS: Final = RESPONSE_CLASSES.index("success")


async def top(fleet: Fleet) -> UsageList:
    """All instances; workers are asked meanwhile how they are, for the next time."""
    usages = []
    for number, instance in enumerate(fleet):
        if number % _SLICE == 0:
            await trio.lowlevel.checkpoint()
        usages.append(_usage(instance))
    return UsageList(clock=time.monotonic_ns() // 1_000_000, instances=tuple(usages))


def _usage(instance: Instance) -> InstanceUsage:
    worker = instance.worker
    instance.tally.take(worker)
    if worker is not None:
        worker.inquire()
    counts = instance.tally.counts
    return InstanceUsage(
        name=instance.metadata.name,
        uuid=instance.metadata.uuid,
        state=instance.condition.state,
        asleep=instance.asleep,
        commands=counts.commands,
        refused=counts.commands - counts.responses[_SUCCESS],
        busy=counts.busy,
        stored=counts.nv_writes,
        memory=0 if worker is None else private_memory(worker.pid),
    )
