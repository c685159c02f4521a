"""DA reset: forget the failed authorizations of a TPM, for whoever has no lockoutAuth."""

from vtpmd.api.schema import LockoutResult
from vtpmd.ipc.messages import LockoutReset, ResetLockout, ResetStoredLockout
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.launch import carry_out, demand_newest
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act
from vtpmd.telemetry.log import get_logger

from .stored import opened

log = get_logger("da-reset")


async def da_reset(fleet: Fleet, name: str) -> LockoutResult:
    """Do what TPM2_DictionaryAttackLockReset does, durably. Raises OperationError."""
    instance, host = fleet.find(name), fleet.host
    async with instance.at_rest(Act.RESET_LOCKOUT) as worker:
        metadata = instance.metadata
        with refusals():
            if worker is not None:
                done = await worker.ask(ResetLockout(), LockoutReset)
            else:
                await demand_newest(host, metadata)
                done = await _reset_stored(host, metadata)
        await instance.note_newest()
    log.warning("lockout-reset", instance=metadata.name, uuid=str(metadata.uuid),
                failed_tries=done.failed_tries, lockout=done.lockout)  # fmt: skip
    return LockoutResult(
        name=metadata.name,
        uuid=metadata.uuid,
        failed_tries=done.failed_tries,
        lockout=done.lockout,
        remains=done.remains,
    )


async def _reset_stored(host: Host, metadata: Metadata) -> LockoutReset:
    async with opened(host, metadata) as (envelope, key, fds):
        order = ResetStoredLockout(
            uuid=metadata.uuid,
            name=metadata.name,
            key=key,
            sandbox=host.configuration.sandbox,
            handover=metadata.remembered(envelope.header),
        )
        return await carry_out(host, metadata, order, LockoutReset, fds)
