"""Accept a rollback: let a TPM go on with an older state than the newest that was seen."""

import trio

from vtpmd.api.schema import InstanceInfo
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act
from vtpmd.telemetry.log import get_logger

from .describe import describe

log = get_logger("accept-rollback")


async def accept_rollback(fleet: Fleet, name: str) -> InstanceInfo:
    """Take what is stored for what is right; it begins a new line. Raises OperationError."""
    instance, host = fleet.find(name), fleet.host
    uuid = instance.metadata.uuid
    async with instance.at_rest(Act.ACCEPT):
        with refusals():
            await trio.to_thread.run_sync(host.anchors.accept_stored, uuid)
    log.warning("rollback-accepted", instance=instance.metadata.name, uuid=str(uuid))
    return await describe(fleet, instance)
