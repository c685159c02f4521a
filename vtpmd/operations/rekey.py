"""Rekey: wrap the DEK under another KEK, or change the DEK; the instance may be running.

Each step leaves a state that opens: its slots and what they open change in one write.
"""

from collections.abc import Sequence
from uuid import UUID

import trio

from vtpmd.api.schema import RekeyRequest, RekeyResult
from vtpmd.ipc.messages import Rekey, Rekeyed, Reseal, Rewrap, Stored
from vtpmd.kms.provider import KeyProvider
from vtpmd.storage.envelope import Envelope
from vtpmd.storage.key import Key
from vtpmd.storage.slot import Slot
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor.claim import claim
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.keys import primary
from vtpmd.supervisor.launch import carry_out, demand_newest
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act
from vtpmd.supervisor.worker import Worker
from vtpmd.telemetry.log import get_logger

from .describe import key_slots

log = get_logger("rekey")


async def rekey(fleet: Fleet, name: str, request: RekeyRequest) -> RekeyResult:
    """Rekey one instance. Raises OperationError: then it opens with the key it had."""
    instance, host = fleet.find(name), fleet.host
    async with instance.at_rest(Act.REKEY) as worker:
        with refusals():
            uuid = instance.metadata.uuid
            envelope = await trio.to_thread.run_sync(host.registry.envelope, uuid)
            if request.since is not None and _all_since(envelope.slots, request.since.timestamp()):
                return _result(instance, envelope.slots, changed=False)
            provider = host.keys.choose(request.provider or primary(envelope.slots).provider)
            changed = True
            if request.deep:
                slots = await _deep(host, instance, worker, envelope, provider)
            else:
                slots = await host.keys.rewrap(envelope, uuid, provider)
                if changed := not _current(envelope.slots, slots):
                    await _store(host, uuid, worker, slots)
            await instance.note(provider=provider.name)
    if changed:
        name = instance.metadata.name
        log.info("rekeyed", instance=name, deep=request.deep, provider=provider.name)
    return _result(instance, slots if changed else envelope.slots, changed)


async def _store(host: Host, uuid: UUID, worker: Worker | None, slots: tuple[Slot, ...]) -> None:
    if worker is not None:
        await worker.ask(Rewrap(slots), Rekeyed)
    else:
        async with claim(host.registry, uuid):
            await trio.to_thread.run_sync(host.registry.rewrap, uuid, slots)


async def _deep(
    host: Host,
    instance: Instance,
    worker: Worker | None,
    envelope: Envelope,
    provider: KeyProvider,
) -> tuple[Slot, ...]:
    uuid = instance.metadata.uuid
    key = await host.keys.fresh(uuid, provider)
    try:
        if worker is not None:
            await worker.ask(Rekey(key), Rekeyed)
            return key.slots
        await demand_newest(host, instance.metadata)
        async with claim(host.registry, uuid) as claimed:
            old = await host.keys.unlock(envelope, uuid)
            try:
                order = Reseal(
                    uuid=uuid,
                    name=instance.metadata.name,
                    old=Key(old, envelope.header.dek_id, envelope.slots),
                    key=key,
                    sandbox=host.configuration.sandbox,
                )
                with host.registry.state_files(uuid) as files:
                    fds = [*files, claimed]
                    await carry_out(host, instance.metadata, order, Stored, fds)
            finally:
                wipe(old)
        return key.slots
    finally:
        wipe(key.dek)


def _all_since(slots: Sequence[Slot], time: float) -> bool:
    return all(slot.created >= time for slot in slots)


def _current(old: Sequence[Slot], new: Sequence[Slot]) -> bool:
    """Whether old and new slots are under the same KEKs.

    A provider that counts no versions cannot tell.
    """
    kek = [(s.purpose, s.provider, s.key_ref, s.key_version) for s in old]
    return kek == [(s.purpose, s.provider, s.key_ref, s.key_version) for s in new] and all(
        slot.key_version for slot in new
    )


def _result(instance: Instance, slots: Sequence[Slot], changed: bool) -> RekeyResult:
    return RekeyResult(
        name=instance.metadata.name,
        uuid=instance.metadata.uuid,
        changed=changed,
        keys=key_slots(slots),
    )
