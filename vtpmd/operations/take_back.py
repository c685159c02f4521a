"""Take back: let a TPM that was handed over, or served by a host that is down, go on here."""

import trio

from vtpmd.api.schema import InstanceInfo
from vtpmd.supervisor import lease
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act

from .describe import describe
from .hand_over import change


async def take_back(fleet: Fleet, name: str) -> InstanceInfo:
    """Make the TPM ours again; what went on elsewhere is lost to it. Raises OperationError.

    Where there is none, or nobody can say whose it is, only another host's lease goes, so that the
    instance can be deleted, replaced or waited for here.
    """
    instance, host = fleet.find(name), fleet.host
    if instance.fault is None and not instance.metadata.incoming:
        return await change(fleet, name, "take-back")
    async with instance.at_rest(Act.TAKE_BACK) as worker:
        if worker is None:
            with refusals():
                await trio.to_thread.run_sync(lease.clear, host.registry, instance.metadata.uuid)
    return await describe(fleet, instance)
