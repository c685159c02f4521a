"""Putting the sealed state of an instance into a bundle, unchanged: for backups and snapshots."""

from dataclasses import replace

import trio

from vtpmd.pki.entries import Entry
from vtpmd.pki.errors import PkiError
from vtpmd.storage.errors import StorageError
from vtpmd.supervisor.certificates import settle
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.metadata import Metadata
from vtpmd.telemetry.log import get_logger

from .bundle import encode

log = get_logger("backup")


async def bundle_of(host: Host, metadata: Metadata) -> bytes:
    """A bundle with the newest durable state of this instance. Raises StorageError and the like."""
    _, nvram = await trio.to_thread.run_sync(host.registry.sealed, metadata.uuid)
    certificates = await trio.to_thread.run_sync(host.registry.certificates, metadata.uuid)
    ledger = await _known(host, metadata)
    return encode(replace(metadata, autostart=False), nvram, certificates, ledger)


async def _known(host: Host, metadata: Metadata) -> list[Entry]:
    """What the ledger knows of a TPM; a backup is made also if it can't be read."""
    try:
        certificates = await trio.to_thread.run_sync(settle, host.registry, metadata.uuid)
        return await host.identities.told(metadata.identity, certificates)
    except (PkiError, StorageError) as error:
        log.warning("identity-not-saved", uuid=str(metadata.uuid), reason=str(error))
        return []
