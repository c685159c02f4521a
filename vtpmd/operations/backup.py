"""Backup: put the sealed state of an instance into a bundle, unchanged."""

from dataclasses import replace

import trio

from vtpmd.pki.entries import Entry
from vtpmd.pki.errors import PkiError
from vtpmd.storage.errors import StorageError
from vtpmd.supervisor.certificates import settle
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act
from vtpmd.telemetry.log import get_logger

from .bundle import encode

log = get_logger("backup")


async def backup(fleet: Fleet, name: str) -> bytes:
    """A bundle with the newest durable state of an instance, which may be running."""
    instance, registry = fleet.find(name), fleet.host.registry
    instance.demand(Act.BACK_UP)
    metadata = replace(instance.metadata, autostart=False)
    with refusals():
        _, nvram = await trio.to_thread.run_sync(registry.sealed, metadata.uuid)
        certificates = await trio.to_thread.run_sync(registry.certificates, metadata.uuid)
        return encode(metadata, nvram, certificates, await _known(fleet.host, metadata))


async def _known(host: Host, metadata: Metadata) -> list[Entry]:
    """What the ledger knows of a TPM; a backup is made also if it can't be read."""
    try:
        certificates = await trio.to_thread.run_sync(settle, host.registry, metadata.uuid)
        return await host.identities.told(metadata.identity, certificates)
    except (PkiError, StorageError) as error:
        log.warning("identity-not-saved", uuid=str(metadata.uuid), reason=str(error))
        return []
