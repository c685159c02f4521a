"""Migrate: what the host's administrator, or a hook, says of a migration; QEMU moves the state."""

from typing import cast

import trio

from vtpmd.api import names, problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import InstanceInfo, MigrateRequest
from vtpmd.ipc.messages import HandOverAct
from vtpmd.storage.envelope import Envelope
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor.certificates import settle
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.keys import TICKET, primary
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act

from .hand_over import change
from .ticket import Ticket


async def migrate(fleet: Fleet, name: str, request: MigrateRequest) -> InstanceInfo:
    """Declare a migration, cancel that, or say that one is done. Raises OperationError."""
    return await change(fleet, name, cast(HandOverAct, request.step))


async def ticket(fleet: Fleet, name: str) -> bytes:
    """What a target has to know of an instance, for a host with the same key provider.

    Nothing of the instance changes. Raises OperationError.
    """
    instance, host = fleet.find(name), fleet.host
    async with instance.at_rest(Act.TICKET):
        with refusals():
            uuid = instance.metadata.uuid
            state = await trio.to_thread.run_sync(host.registry.envelope, uuid)
            written = await _written(host, instance.metadata, state)
    if len(written) > names.MAX_TICKET:
        detail = f"The ticket would have {len(written)} octets, more than {names.MAX_TICKET}."
        raise OperationError(problems.UNAVAILABLE, detail)
    return written


async def _written(host: Host, metadata: Metadata, state: Envelope) -> bytes:
    certificates = await trio.to_thread.run_sync(settle, host.registry, metadata.uuid)
    ledger = await host.identities.told(metadata.identity, certificates)
    engine = await host.zygote.models()
    made = Ticket(
        metadata,
        certificates,
        ledger,
        state.header.dek_id,
        state.slots,
        engine.state_version,
        engine.state_fields,
    )
    provider = host.keys.choose(primary(state.slots).provider)
    key = await host.keys.fresh(metadata.uuid, provider, TICKET)
    try:
        return await trio.to_thread.run_sync(made.encode, key)
    finally:
        wipe(key.dek)
