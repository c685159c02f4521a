"""List: all instances."""

from vtpmd.api.schema import InstanceList
from vtpmd.supervisor.fleet import Fleet

from .describe import outline


async def list_(fleet: Fleet) -> InstanceList:
    """All instances by name, without what only their files and workers know."""
    return InstanceList(instances=tuple(outline(fleet, instance) for instance in fleet))
