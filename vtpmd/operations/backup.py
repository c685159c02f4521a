"""Backup: put the sealed state of an instance into a bundle, unchanged."""

from dataclasses import replace

import trio

from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act

from .bundle import encode


async def backup(fleet: Fleet, name: str) -> bytes:
    """A bundle with the newest durable state of an instance, which may be running."""
    instance, registry = fleet.find(name), fleet.host.registry
    instance.demand(Act.BACK_UP)
    metadata = replace(instance.metadata, autostart=False)
    with refusals():
        _, nvram = await trio.to_thread.run_sync(registry.sealed, metadata.uuid)
        certificates = await trio.to_thread.run_sync(registry.certificates, metadata.uuid)
        return encode(metadata, nvram, certificates)
