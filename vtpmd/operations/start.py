"""Start: serve an instance."""

from vtpmd.api.schema import InstanceInfo
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.refusals import refusals

from .describe import describe


async def start(fleet: Fleet, name: str) -> InstanceInfo:
    """Serve an instance, now and after a restart of the daemon. Raises OperationError."""
    instance = fleet.find(name)
    with refusals():
        await instance.start()
    return await describe(fleet, instance)
