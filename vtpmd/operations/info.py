"""Info: one instance, with what its worker says."""

from vtpmd.api.schema import InstanceInfo
from vtpmd.supervisor.fleet import Fleet

from .describe import describe


async def info(fleet: Fleet, name: str) -> InstanceInfo:
    """One instance by name or UUID. Raises OperationError."""
    return await describe(fleet, fleet.find(name))
