"""Changing whose a TPM is, whether it is served or not: what migrate and take-back share."""

import trio

from vtpmd.api.schema import InstanceInfo
from vtpmd.ipc.messages import (
    ChangeHandOver,
    ChangeStoredHandOver,
    HandOverAct,
    HandOverChanged,
)
from vtpmd.supervisor import lease
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.launch import carry_out, demand_newest
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act
from vtpmd.telemetry.log import get_logger

from .describe import describe
from .stored import opened

log = get_logger("hand-over")

_ACTS: dict[HandOverAct, Act] = {
    "declare": Act.MIGRATE,
    "cancel": Act.CANCEL,
    "done": Act.MIGRATED,
    "take-back": Act.TAKE_BACK,
}


async def change(fleet: Fleet, name: str, act: HandOverAct) -> InstanceInfo:
    """Change the state of hand-over of one instance. Raises OperationError."""
    instance, host = fleet.find(name), fleet.host
    async with instance.at_rest(_ACTS[act]) as worker:
        await instance.note_newest()
        with refusals():
            if worker is not None:
                changed = await worker.ask(ChangeHandOver(act), HandOverChanged)
            else:
                changed = await _change_stored(host, instance, act)
            await instance.note_hand_over(changed.handover, changed.generation)
        await instance.note_newest()
    log.info(
        "hand-over", instance=instance.metadata.name, act=act, handover=changed.handover,
        epoch=changed.epoch,
    )  # fmt: skip
    return await describe(fleet, instance)


async def _change_stored(host: Host, instance: Instance, act: HandOverAct) -> HandOverChanged:
    metadata = instance.metadata
    if act == "take-back":
        await trio.to_thread.run_sync(lease.clear, host.registry, metadata.uuid)
    await demand_newest(host, metadata)
    async with opened(host, metadata) as (envelope, key, fds):
        order = ChangeStoredHandOver(
            uuid=metadata.uuid,
            name=metadata.name,
            key=key,
            act=act,
            handover=metadata.remembered(envelope.header),
            sandbox=host.configuration.sandbox,
        )
        return await carry_out(host, metadata, order, HandOverChanged, fds)
