"""Doctor: what is wrong with the host as the daemon sees it, with its keys, and with instances."""

from datetime import datetime
from uuid import UUID

import trio

from vtpmd.api.schema import Diagnosis, Finding, InstanceInfo
from vtpmd.doctor import authority, instances, keys, places
from vtpmd.doctor.finding import examine
from vtpmd.pki.errors import PkiError
from vtpmd.storage.errors import StorageError
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.instance import Instance

from .describe import describe

_AT_ONCE = 8
"""How many instances are asked side by side: a worker that is silent takes its time."""


async def doctor(fleet: Fleet) -> Diagnosis:
    """Everything that can be said from here."""
    configuration = fleet.host.configuration
    findings = await trio.to_thread.run_sync(examine, places.CHECKS, configuration)
    findings += await keys.judge(fleet.host.keys, fleet)
    findings += await _of_authority(fleet)
    findings += await _of_instances(fleet, await _described(fleet, list(fleet)))
    return Diagnosis(findings=tuple(findings))


async def doctor_instance(fleet: Fleet, name: str) -> Diagnosis:
    """What can be said of one instance, and of the key provider it needs. Raises OperationError."""
    instance = fleet.find(name)
    findings = await _of_instances(fleet, [await describe(fleet, instance)])
    provider = instance.metadata.provider
    about = [
        each
        for each in await keys.judge(fleet.host.keys, [instance])
        if provider in each.reason.split()
    ]
    return Diagnosis(findings=(*findings, *about))


async def _of_instances(fleet: Fleet, described: list[InstanceInfo]) -> list[Finding]:
    ends = await _certificate_ends(fleet, described)
    return examine(instances.CHECKS, instances.Inventory(described, ends))


async def _certificate_ends(fleet: Fleet, described: list[InstanceInfo]) -> dict[str, datetime]:
    """When the first certificate of each instance ends that was given to it last, by name."""
    try:
        ledger = await fleet.host.identities.ledger()
    except (PkiError, StorageError):
        return {}  # that is told of the own authority
    ends = {}
    for info in described:
        newest = {each.kind: each.not_after for each in ledger.given(_identity(fleet, info))}
        if newest and info.certificates == "valid":
            ends[info.name] = min(newest.values())
    return ends


def _identity(fleet: Fleet, info: InstanceInfo) -> UUID:
    return fleet.find(str(info.uuid)).metadata.identity


async def _of_authority(fleet: Fleet) -> list[Finding]:
    if fleet.host.configuration.identity.ca != "own":
        return []
    try:
        found = await fleet.host.identities.authority.existing()
    except (PkiError, StorageError) as error:
        return [
            Finding(
                check="own authority",
                verdict="bad",
                reason=str(error),
                remedy="restore <state_dir>/ca from a backup",
            )
        ]
    return examine(authority.CHECKS, found)


async def _described(fleet: Fleet, chosen: list[Instance]) -> list[InstanceInfo]:
    found: list[InstanceInfo] = []
    limit = trio.CapacityLimiter(_AT_ONCE)

    async def look(instance: Instance) -> None:
        async with limit:
            found.append(await describe(fleet, instance))

    async with trio.open_nursery() as nursery:
        for instance in chosen:
            nursery.start_soon(look, instance)
    return sorted(found, key=lambda info: info.name)
