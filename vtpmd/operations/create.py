"""How an instance comes into being: planned, made in a directory of its own, and then published."""

import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import trio

from vtpmd.api.schema import CreateRequest
from vtpmd.ipc.messages import Manufacture, Stored
from vtpmd.storage.errors import StorageError
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.keys import FreshKey
from vtpmd.supervisor.launch import carry_out
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.naming import as_uuid, check_name
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.registry import Entry
from vtpmd.telemetry.log import get_logger

log = get_logger("creation")


def planned(
    host: Host,
    name: str,
    uuid: UUID | None,
    *,
    provider: str | None,
    profile: str,
    pcr_banks: Sequence[str],
    data_socket: bool,
    identity: UUID | None = None,
) -> Metadata:
    """The metadata of a new instance; its identity is its own unless given.

    Raises OperationError.
    """
    uuid = uuid or as_uuid(name) or uuid4()
    check_name(host.configuration, name, uuid)
    with refusals():
        holder = host.keys.choose(provider)
    return Metadata(
        name=name,
        uuid=uuid,
        created=datetime.now(UTC),
        provider=holder.name,
        profile=profile,
        pcr_banks=tuple(pcr_banks),
        data_socket=data_socket,
        autostart=False,
        identity=identity or uuid,
    )


async def create(fleet: Fleet, request: CreateRequest) -> Instance:
    """A new TPM with secrets of its own, not served yet. Raises OperationError."""
    configuration, data_socket = fleet.host.configuration, request.data_socket
    metadata = planned(
        fleet.host,
        request.name,
        request.uuid,
        provider=request.provider,
        profile=request.profile or configuration.defaults.profile,
        pcr_banks=request.pcr_banks or configuration.defaults.pcr_banks,
        data_socket=configuration.sockets.data_socket if data_socket is None else data_socket,
    )
    return await manufactured(fleet, metadata)


async def manufactured(fleet: Fleet, metadata: Metadata) -> Instance:
    """A TPM made as `metadata` plans it. Raises OperationError."""

    async def fill(directory: int, key: FreshKey) -> None:
        order = Manufacture(
            uuid=metadata.uuid,
            name=metadata.name,
            profile=metadata.profile,
            pcr_banks=metadata.pcr_banks,
            dek=key.dek,
            dek_id=key.dek_id,
            slots=key.slots,
            sandbox=fleet.host.configuration.sandbox,
        )
        await carry_out(fleet.host, metadata, order, Stored, [directory])

    return await born(fleet, metadata, fill)


async def born(
    fleet: Fleet, metadata: Metadata, fill: Callable[[int, FreshKey], Awaitable[None]]
) -> Instance:
    """An instance with a fresh key, whose directory `fill` fills. Raises OperationError."""
    host = fleet.host
    with fleet.reserved(metadata), refusals():
        key = await host.keys.fresh(metadata.uuid, host.keys.choose(metadata.provider))
        try:
            await published(host, metadata, lambda directory: fill(directory, key))
        finally:
            wipe(key.dek)
        log.info("created", instance=metadata.name, uuid=str(metadata.uuid))
        return fleet.add(Entry(metadata))


async def published(host: Host, metadata: Metadata, fill: Callable[[int], Awaitable[None]]) -> None:
    """Let a directory appear once it is complete; what fails leaves nothing."""
    directory = await trio.to_thread.run_sync(host.registry.prepare, metadata)
    try:
        await fill(directory)
        await trio.to_thread.run_sync(host.registry.publish, metadata.uuid)
    except BaseException:
        with contextlib.suppress(StorageError):
            host.registry.discard(metadata.uuid)
        raise
    finally:
        os.close(directory)
