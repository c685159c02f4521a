"""Backup: hand out an instance in a bundle."""

from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act

from .bundling import bundle_of


async def backup(fleet: Fleet, name: str) -> bytes:
    """A bundle with the newest durable state of an instance, which may be running."""
    instance = fleet.find(name)
    instance.demand(Act.BACK_UP)
    with refusals():
        return await bundle_of(fleet.host, instance.metadata)
