"""How what the daemon knows is shown in reports."""

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import trio

from vtpmd.api.schema import (
    InstanceInfo,
    KeySlot,
    KnownState,
    ProviderDetails,
    ProviderInfo,
    SocketAccess,
    WorkerInfo,
)
from vtpmd.ipc.messages import StatusReply
from vtpmd.pki.errors import PkiError
from vtpmd.storage.anchor import Anchor
from vtpmd.storage.envelope import Envelope
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.header import stricter
from vtpmd.storage.slot import Slot
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.keys import ProviderState
from vtpmd.supervisor.together import together

from .endorsement import certified


def outline(fleet: Fleet, instance: Instance) -> InstanceInfo:
    """One instance, without what only its files and its worker know."""
    metadata, condition = instance.metadata, instance.condition
    data = instance.endpoints.data
    return InstanceInfo(
        name=metadata.name,
        uuid=metadata.uuid,
        state=condition.state,
        reason=instance.reason,
        since=condition.since,
        created=metadata.created,
        autostart=metadata.autostart,
        provider=metadata.provider,
        profile=metadata.profile,
        pcr_banks=metadata.pcr_banks,
        control_socket=instance.endpoints.control_socket,
        data_socket=None if data is None else str(data),
        access=_access(instance),
        shares_identity_with=fleet.sharing_identity(metadata),
        handover=metadata.handover,
        asleep=instance.asleep,
        machine=instance.machine,
        labels=dict(metadata.labels),
    )


def _access(instance: Instance) -> SocketAccess:
    access = instance.access
    return SocketAccess(
        owner=access.owner,
        group=access.group,
        mode=f"{access.mode:04o}",
        configured=(instance.metadata.owner, instance.metadata.mode) == (None, None),
        shared=instance.endpoints.shared,
    )


async def describe(fleet: Fleet, instance: Instance) -> InstanceInfo:
    """One instance, with its key slots and what its worker says."""
    stored = partial(_stored, fleet.host, instance.metadata.uuid)
    (envelope, anchor), (answer, certificates) = await together(
        partial(trio.to_thread.run_sync, stored), partial(_asked, fleet, instance)
    )
    if answer is None and instance.worker is not None:  # it has come meanwhile
        answer, certificates = await _asked(fleet, instance)
    slots: tuple[Slot, ...] = ()
    handover: str = instance.metadata.handover
    if envelope is not None:
        slots = envelope.slots
        handover = stricter(envelope.header.handover, instance.metadata.remembered(envelope.header))
    worker = None
    if answer is not None:
        worker = _worker_info(*answer)
        if worker.tpm != "unknown":
            handover = answer[1].handover
    return replace(
        outline(fleet, instance),
        certificates=certificates,
        rollback="" if anchor is None else anchor.told,
        newest=None if anchor is None else _known(anchor),
        keys=key_slots(slots),
        worker=worker,
        handover=handover,
    )


def _stored(host: Host, uuid: UUID) -> tuple[Envelope | None, Anchor | None]:
    """What its files say without a key, as far as they can be read; blocks on the disk."""
    envelope = anchor = None
    with contextlib.suppress(EnvelopeError, StorageError):
        envelope = host.registry.envelope(uuid)
    with contextlib.suppress(StorageError):
        anchor = host.anchors.known(uuid)
    return envelope, anchor


async def _asked(fleet: Fleet, instance: Instance) -> tuple[tuple[int, StatusReply] | None, str]:
    """What its worker says of itself, and how it stands with the certificates."""
    return await instance.status(), await _certificates(fleet, instance)


def _known(anchor: Anchor) -> KnownState:
    newest = anchor.newest
    return KnownState(generation=newest.generation, epoch=newest.epoch, seen=anchor.seen)


async def _certificates(fleet: Fleet, instance: Instance) -> str:
    try:
        return (await certified(fleet.host, instance)).standing
    except (PkiError, StorageError) as error:
        return f"unknown: {error}"


def _worker_info(pid: int, status: StatusReply) -> WorkerInfo:
    return WorkerInfo(
        pid=pid,
        tpm=status.tpm,
        generation=status.generation,
        clients=status.clients,
        commands=status.commands,
        storage=status.storage,
        sandbox=status.sandbox,
        dropped_octets=status.dropped_octets,
        failed_tries=status.failed_tries,
        lockout=status.lockout,
        refused_descriptors=status.refused_descriptors,
        epoch=status.epoch,
        declared=status.declared,
        pending=status.pending,
        begun=status.begun,
        version=status.version,
    )


def key_slots(slots: Iterable[Slot]) -> tuple[KeySlot, ...]:
    """What may be shown of key slots."""
    return tuple(
        KeySlot(
            provider=slot.provider,
            type=slot.provider_type,
            key_ref=slot.key_ref,
            key_version=slot.key_version,
            purpose=slot.purpose,
            created=datetime.fromtimestamp(slot.created, UTC),
        )
        for slot in slots
    )


def provider_info(state: ProviderState) -> ProviderInfo:
    """A key provider, without what it reports about itself."""
    return ProviderInfo(**_provider_fields(state))


def provider_details(
    state: ProviderState, instances: int, description: dict[str, object]
) -> ProviderDetails:
    """A key provider, how many instances have their key there, and what it reports."""
    return ProviderDetails(**_provider_fields(state), instances=instances, description=description)


def _provider_fields(state: ProviderState) -> dict[str, Any]:
    return {
        "name": state.provider.name,
        "type": state.provider.type,
        "default": state.is_default,
        "recovery": state.is_recovery,
        "available": state.fault is None,
        "reason": state.fault or "ready",
    }
