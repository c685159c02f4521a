"""Snapshots: the state of a TPM as of one moment, kept beside it; for machines whose disks are
snapshotted by somebody else than QEMU.

What is stored is what a power cut at that moment would leave: the state between two commands. So a
restored one is a TPM that is off, and whose machine boots cold.
"""

import re
from datetime import UTC, datetime

import trio

from vtpmd.api import names, problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import (
    InstanceInfo,
    RestoreRequest,
    SnapshotDeleteRequest,
    SnapshotInfo,
    SnapshotList,
    SnapshotRequest,
    SnapshotRestoreRequest,
)
from vtpmd.storage.errors import StorageError
from vtpmd.storage.header import stricter
from vtpmd.supervisor import snapshots
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act
from vtpmd.telemetry.log import get_logger

from .bundle import Bundle, BundleError, decode
from .bundling import bundle_of
from .restoring import restore_bundle

log = get_logger("snapshot")


async def create(fleet: Fleet, name: str, request: SnapshotRequest) -> SnapshotInfo:
    """Keep the newest durable state of an instance, which may be running. Raises OperationError."""
    instance, host = fleet.find(name), fleet.host
    label = _checked(request.label or f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    async with instance.at_rest(Act.SNAPSHOT):
        await _demand_here(host, instance)
        with refusals():
            data = await bundle_of(host, instance.metadata)
            uuid = instance.metadata.uuid
            try:
                await trio.to_thread.run_sync(snapshots.add, host.registry, uuid, label, data)
            except StorageError as error:
                if error.kind != "exists":
                    raise
                detail = f"{instance.metadata.name} has a snapshot {label} already."
                raise OperationError(problems.EXISTS, detail) from None
    log.info("snapshot-made", instance=instance.metadata.name, snapshot=label)
    return _info(label, data, decode(data))


async def list_(fleet: Fleet, name: str) -> SnapshotList:
    """The snapshots of an instance, by name; what is none of ours is passed over."""
    instance, registry = fleet.find(name), fleet.host.registry
    uuid = instance.metadata.uuid

    def look() -> tuple[SnapshotInfo, ...]:
        found = []
        for label in snapshots.names(registry, uuid):
            try:
                data = snapshots.read(registry, uuid, label)
                found.append(_info(label, data, decode(data)))
            except (BundleError, StorageError) as error:
                found.append(SnapshotInfo(name=label, reason=str(error)))
        return tuple(found)

    with refusals():
        return SnapshotList(snapshots=await trio.to_thread.run_sync(look))


async def restore(fleet: Fleet, name: str, request: SnapshotRestoreRequest) -> InstanceInfo:
    """Turn an instance that is not running back to a snapshot. Raises OperationError."""
    instance = fleet.find(name)
    uuid = instance.metadata.uuid
    data = await _read(fleet.host, instance, _checked(request.snapshot))
    try:
        bundle = await trio.to_thread.run_sync(decode, data)
        if bundle.metadata.uuid != uuid:
            raise BundleError(f"it is of instance {bundle.metadata.uuid}")
    except BundleError as error:
        detail = f"The snapshot {request.snapshot} is refused: {error}."
        raise OperationError(problems.BUNDLE_REFUSED, detail) from None
    wanted = RestoreRequest(replace=True, confirmed=request.confirmed, start=request.start)
    restored = await restore_bundle(fleet, wanted, bundle)
    log.warning("snapshot-restored", instance=restored.name, snapshot=request.snapshot)
    return restored


async def delete(fleet: Fleet, name: str, request: SnapshotDeleteRequest) -> None:
    """Remove a snapshot for good. Raises OperationError."""
    instance = fleet.find(name)
    uuid, label = instance.metadata.uuid, _checked(request.snapshot)
    with refusals():
        try:
            await trio.to_thread.run_sync(snapshots.remove, fleet.host.registry, uuid, label)
        except StorageError as error:
            raise _absent(instance, label, error) from None
    log.info("snapshot-deleted", instance=instance.metadata.name, snapshot=label)


def _checked(label: str) -> str:
    """The name of a snapshot. Raises OperationError for one that none may have."""
    if re.fullmatch(names.NAME_PATTERN, label) is None:
        detail = f"{label!r} is no name for a snapshot: {names.NAME_PATTERN} is expected."
        raise OperationError(problems.INVALID, detail)
    return label


async def _demand_here(host: Host, instance: Instance) -> None:
    """Raise OperationError if what is stored is not what a machine here goes on with."""
    metadata = instance.metadata
    with refusals():
        envelope = await trio.to_thread.run_sync(host.registry.envelope, metadata.uuid)
    if stricter(envelope.header.handover, metadata.remembered(envelope.header)) == names.AWAY:
        detail = f"{metadata.name} was handed over to another host: what is here is not its state."
        raise OperationError(problems.HANDED_OVER, detail)
    status = await instance.status()
    if status is not None and status[1].pending:
        detail = "A restored state waits for the first command of its machine: try again after it."
        raise OperationError(problems.UNAVAILABLE, detail)


async def _read(host: Host, instance: Instance, label: str) -> bytes:
    with refusals():
        try:
            uuid = instance.metadata.uuid
            return await trio.to_thread.run_sync(snapshots.read, host.registry, uuid, label)
        except StorageError as error:
            raise _absent(instance, label, error) from None


def _absent(instance: Instance, label: str, error: StorageError) -> OperationError | StorageError:
    if error.kind != "missing":
        return error
    detail = f"{instance.metadata.name} has no snapshot {label}."
    return OperationError(problems.NO_SNAPSHOT, detail)


def _info(label: str, data: bytes, bundle: Bundle) -> SnapshotInfo:
    header = bundle.envelope.header
    return SnapshotInfo(
        name=label,
        created=bundle.made,
        generation=header.generation,
        epoch=header.epoch,
        size=len(data),
    )
