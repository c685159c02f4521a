"""Stop: end serving an instance."""

from vtpmd.api.schema import InstanceInfo, StopRequest
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.refusals import refusals

from .describe import describe

STOPPED_BY_ADMINISTRATOR = "stopped by an administrator"


async def stop(fleet: Fleet, name: str, request: StopRequest) -> InstanceInfo:
    """Stop an instance, also for the next start of the daemon if that is to be remembered.

    Raises OperationError.
    """
    instance = fleet.find(name)
    with refusals():
        await instance.stop(request.remember, STOPPED_BY_ADMINISTRATOR, request.force)
    return await describe(fleet, instance)
