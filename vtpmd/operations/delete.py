"""Delete: remove an instance and its secrets."""

import contextlib

import trio

from vtpmd.api.schema import Deletion, KeyFate
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.header import Header, stricter
from vtpmd.supervisor.claim import claim
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.keys import Erasure
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act
from vtpmd.telemetry.log import get_logger

ELSEWHERE = "its state was handed over, and who has that needs it"

log = get_logger("delete")


async def delete(fleet: Fleet, name: str) -> Deletion:
    """Remove an instance that is not running; returns which of its keys are destroyed.

    Raises OperationError.
    """
    instance = fleet.find(name)
    metadata, registry = instance.metadata, fleet.host.registry
    erasures: list[Erasure] | None = [] if metadata.incoming else None
    async with instance.retired(Act.DELETE):
        with refusals():
            async with claim(registry, metadata.uuid):
                with contextlib.suppress(EnvelopeError, StorageError):
                    envelope = await trio.to_thread.run_sync(registry.envelope, metadata.uuid)
                    if _elsewhere(metadata, envelope.header):
                        erasures = [Erasure(slot, False, ELSEWHERE) for slot in envelope.slots]
                    else:
                        erasures = await fleet.host.keys.destroy(envelope, metadata.uuid)
                await trio.to_thread.run_sync(registry.remove, metadata.uuid)
        await trio.to_thread.run_sync(fleet.host.anchors.forget, metadata.uuid)
        fleet.drop(metadata.uuid)
    log.info("deleted", instance=metadata.name, uuid=str(metadata.uuid))
    return Deletion(
        deleted=metadata.name,
        uuid=metadata.uuid,
        keys=None if erasures is None else tuple(map(_fate, erasures)),
        secrets_remain_in=fleet.sharing_identity(metadata),
    )


def _elsewhere(metadata: Metadata, header: Header) -> bool:
    """Whether another host or a saved machine may have this TPM, under the same KEK."""
    return stricter(header.handover, metadata.remembered(header)) != "ours"


def _fate(erasure: Erasure) -> KeyFate:
    slot = erasure.slot
    return KeyFate(
        provider=slot.provider,
        key_ref=slot.key_ref,
        key_version=slot.key_version,
        destroyed=erasure.erased,
        reason=erasure.reason,
    )
