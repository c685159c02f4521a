"""List: all instances."""

from typing import Final

import trio

from vtpmd.api.schema import InstanceList
from vtpmd.supervisor.fleet import Fleet

from .describe import outline

SLICE: Final = 20
"""How many instances are described in one turn: there may be a thousand."""


async def list_(fleet: Fleet) -> InstanceList:
    """All instances by name, without what only their files and workers know."""
    outlines = []
    for number, instance in enumerate(fleet):
        if number % SLICE == 0:
            await trio.lowlevel.checkpoint()
        outlines.append(outline(fleet, instance))
    return InstanceList(instances=tuple(outlines))
