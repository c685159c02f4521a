"""Making an instance as its metadata has it: fill a directory, publish that, perhaps start.

The verbs make the metadata, each in one place, and say of every field where it comes from.
"""

import contextlib
import os
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID, uuid4

import trio

from vtpmd.api.problems import OperationError
from vtpmd.api.schema import InstanceInfo
from vtpmd.ipc.identity import Complete, Made
from vtpmd.ipc.messages import Manufacture, Stored
from vtpmd.storage.errors import StorageError
from vtpmd.storage.key import Key
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor.certificates import put_unpublished
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.instance_directory import opened_state
from vtpmd.supervisor.launch import carry_out, conversation
from vtpmd.supervisor.metadata import Metadata, as_uuid
from vtpmd.supervisor.naming import check_name
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.registry import Entry
from vtpmd.supervisor.together import together
from vtpmd.telemetry.log import get_logger

from .describe import describe

log = get_logger("new")


def identify(host: Host, name: str, uuid: UUID | None) -> UUID:
    """The UUID of a new instance with this name: the one asked for, or the name, or a fresh one.

    Raises OperationError if it may not have the name.
    """
    uuid = uuid or as_uuid(name) or uuid4()
    check_name(host.configuration, name, uuid)
    return uuid


def provider_called(host: Host, name: str | None) -> str:
    """The name of this key provider, None for the default. Raises OperationError."""
    with refusals():
        return host.keys.choose(name).name


async def manufacture(fleet: Fleet, metadata: Metadata) -> Instance:
    """An instance with a TPM of its own, made as planned. Raises OperationError."""

    async def fill(directory: int, files: list[int], key: Key) -> None:
        host = fleet.host
        order = Manufacture(
            uuid=metadata.uuid,
            name=metadata.name,
            profile=metadata.profile,
            pcr_banks=metadata.pcr_banks,
            key=key,
            sandbox=host.configuration.sandbox,
            keys=host.identities.kinds,
        )
        if not order.keys:
            await carry_out(host, metadata, order, Stored, files)
            return
        async with conversation(host, metadata) as worker:
            made = await worker.ask(order, Made, files)
            certificates = await host.identities.welcome(
                metadata.identity, made.identity, metadata.provider
            )
            await together(
                partial(worker.ask, Complete(*certificates.for_nv), Stored),
                partial(trio.to_thread.run_sync, put_unpublished, directory, certificates),
            )

    return await make(fleet, metadata, fill)


async def make(
    fleet: Fleet, metadata: Metadata, fill: Callable[[int, list[int], Key], Awaitable[None]]
) -> Instance:
    """An instance with a fresh key, whose directory and state files `fill` fills.

    Raises OperationError.
    """
    host = fleet.host

    async def fill_directory(directory: int) -> None:
        with opened_state(directory) as files:
            await fill(directory, files, key)
        # One that had this UUID before it may have left an anchor: nothing of it is turned back.
        await trio.to_thread.run_sync(host.anchors.forget, metadata.uuid)

    with fleet.reserved(metadata), refusals():
        key = await host.keys.fresh(metadata.uuid, host.keys.choose(metadata.provider))
        try:
            await publish(host, metadata, fill_directory)
        finally:
            wipe(key.dek)
        log.info("created", instance=metadata.name, uuid=str(metadata.uuid))
        return fleet.add(Entry(metadata))


async def publish(host: Host, metadata: Metadata, fill: Callable[[int], Awaitable[None]]) -> None:
    """Prepare a directory, let `fill` complete it, publish it; a failure leaves nothing."""
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


async def introduce(fleet: Fleet, instance: Instance, start: bool) -> InstanceInfo:
    """An instance that has just been made, served if `start`; it stays if that fails.

    Raises OperationError.
    """
    if start:
        try:
            with refusals():
                await instance.start()
        except OperationError as refused:
            detail = f"{instance.metadata.name} is created, but not served: {refused.detail}"
            raise OperationError(refused.problem, detail) from None
    return await describe(fleet, instance)
