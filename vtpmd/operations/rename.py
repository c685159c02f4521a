"""Rename: give an instance another name, and its sockets other paths."""

from dataclasses import replace

from vtpmd.api.schema import InstanceInfo, RenameRequest
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act
from vtpmd.telemetry.log import get_logger

from .describe import describe

log = get_logger("rename")


async def rename(fleet: Fleet, name: str, request: RenameRequest) -> InstanceInfo:
    """Rename an instance that is not served; its UUID stays. Raises OperationError."""
    instance = fleet.find(name)
    before = instance.metadata.name
    with fleet.reserved(replace(instance.metadata, name=request.name), replacing=instance):
        async with instance.at_rest(Act.MOVE):
            with refusals():
                await instance.note(name=request.name)
            fleet.renamed(before, instance)
    log.info("renamed", instance=request.name, before=before, uuid=str(instance.metadata.uuid))
    return await describe(fleet, instance)
