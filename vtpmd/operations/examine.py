"""What a stored TPM contains, as found by a worker for this one order."""

import trio

from vtpmd.ipc.messages import Examine, Examined
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.launch import carry_out
from vtpmd.supervisor.metadata import Metadata


async def examine(host: Host, instance: Instance) -> Examined:
    """What the TPM of an instance contains. Raises what `refusals` turns into OperationError."""
    dek = await unlocked(host, instance)
    try:
        with host.registry.nvram(instance.metadata.uuid) as nvram:
            return await examine_file(host, instance.metadata, dek, nvram)
    finally:
        wipe(dek)


async def examine_file(host: Host, metadata: Metadata, dek: bytearray, nvram: int) -> Examined:
    """What the TPM contains whose permanent state is open as `nvram`. Raises as `carry_out`."""
    order = Examine(metadata.uuid, metadata.name, dek, host.configuration.sandbox)
    return await carry_out(host, metadata, order, Examined, [nvram])


async def unlocked(host: Host, instance: Instance) -> bytearray:
    """The DEK of an instance, which the caller wipes. Raises as `examine`."""
    uuid = instance.metadata.uuid
    envelope = await trio.to_thread.run_sync(host.registry.envelope, uuid)
    return await host.keys.unlock(envelope, uuid)
