"""What administrators can ask of the daemon: the operations behind the admin interface."""

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import get_args
from uuid import UUID, uuid4

import trio

from vtpmd import __version__
from vtpmd.admin import names
from vtpmd.admin.schema import (
    Capabilities,
    CreateRequest,
    Digests,
    InstanceInfo,
    ProviderInfo,
    WorkerInfo,
)
from vtpmd.config.schema import PcrBank, Profile
from vtpmd.storage.errors import StorageError
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor import launch
from vtpmd.supervisor.endpoints import Endpoints
from vtpmd.supervisor.errors import AlreadyRunning, OperationRefused
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.keys import KeyMissing
from vtpmd.supervisor.launch import Host
from vtpmd.supervisor.metadata import Metadata, valid_name
from vtpmd.supervisor.registry import Entry
from vtpmd.supervisor.worker import WorkerEnded, WorkerFailed, attach
from vtpmd.supervisor.zygote import SpawnError
from vtpmd.telemetry.log import get_logger

STOPPED_BY_ADMINISTRATOR = "stopped by an administrator"

log = get_logger("service")


class Service:
    """All instances of this host, and what can be done with them.

    Operations raise OperationRefused. `name` is an instance's name or its UUID.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._instances: dict[UUID, Instance] = {}
        self._coming: set[str] = set()

    async def begin(self, entries: list[Entry]) -> None:
        """Take the registry's instances up: adopt living workers, start what was running."""
        for entry in entries:
            self._instances[entry.metadata.uuid] = Instance(entry, self._host)
        async with trio.open_nursery() as nursery:
            for instance in self._instances.values():
                nursery.start_soon(self._take_up, instance)

    async def _take_up(self, instance: Instance) -> None:
        if not instance.endpoints.reattach.exists():
            worker = None
        else:
            try:
                worker, status = await attach(instance.endpoints.reattach, instance.on_event)
                log.info("reattached", instance=instance.metadata.name, pid=status.pid)
            except WorkerEnded as error:
                log.info("worker-gone", instance=instance.metadata.name, reason=str(error))
                worker = None
        if worker is not None or instance.metadata.autostart:
            instance.launch(worker)

    async def capabilities(self) -> Capabilities:
        """What can be done on this host."""
        survey = await self._host.keys.survey()
        create = "available"
        try:
            chosen = self._host.keys.choose(None)
            faults = {state.provider.name: state.fault for state in survey}
            if fault := faults[chosen.name]:
                create = f"unavailable: {fault}"
        except KeyMissing as error:
            create = f"unavailable: {error}"
        return Capabilities(
            version=__version__,
            create=create,
            profiles=list(get_args(Profile)),
            pcr_banks=list(get_args(PcrBank)),
            key_providers=[
                ProviderInfo(
                    name=state.provider.name,
                    type=state.provider.type,
                    default=state.is_default,
                    available=state.fault is None,
                    reason=state.fault or "ready",
                )
                for state in survey
            ],
            sandbox=self._host.configuration.sandbox,
            states=[names.STOPPED, names.RUNNING, names.LOCKED, names.FAILED],
        )

    def list(self) -> list[InstanceInfo]:
        """All instances by name, without what only their workers know."""
        instances = sorted(self._instances.values(), key=lambda each: each.metadata.name)
        return [_describe(instance) for instance in instances]

    async def info(self, name: str) -> InstanceInfo:
        """One instance, with what its worker says."""
        instance = self._find(name)
        info = _describe(instance)
        if status := await instance.status():
            info.worker = WorkerInfo(
                pid=status.pid,
                tpm=status.tpm,
                generation=status.generation,
                clients=status.clients,
                commands=status.commands,
                storage=status.storage,
                sandbox=status.sandbox,
            )
        return info

    async def create(self, request: CreateRequest) -> InstanceInfo:
        """Make a new TPM, and serve it unless asked not to."""
        metadata = self._plan(request)
        endpoints = Endpoints(
            self._host.configuration, metadata.name, metadata.uuid, metadata.data_socket
        )
        if not endpoints.fit:
            raise OperationRefused(
                names.INVALID, f"name: the socket path {endpoints.control} would be too long"
            )
        with self._reserved(metadata):
            await self._manufacture(metadata, request.provider)
            instance = Instance(Entry(metadata), self._host)
            self._instances[metadata.uuid] = instance
        log.info("created", instance=metadata.name, uuid=str(metadata.uuid))
        if request.start:
            try:
                with _storage_refusals():
                    await instance.start()
            except OperationRefused as refused:
                detail = f"{metadata.name} is created, but not served: {refused.detail}"
                raise OperationRefused(refused.problem, detail) from None
        return await self.info(metadata.name)

    async def start(self, name: str) -> InstanceInfo:
        """Serve an instance, now and after a restart of the daemon."""
        with _storage_refusals():
            await self._find(name).start()
        return await self.info(name)

    async def stop(self, name: str, remember: bool) -> InstanceInfo:
        """Serve an instance no longer; `remember` it when the daemon starts next."""
        with _storage_refusals():
            await self._find(name).stop(remember, STOPPED_BY_ADMINISTRATOR)
        return await self.info(name)

    async def delete(self, name: str) -> None:
        """Remove an instance that is not running, and its secrets, for good."""
        instance = self._find(name)
        uuid = instance.metadata.uuid
        await instance.retire()
        try:
            with _storage_refusals():
                await trio.to_thread.run_sync(self._host.registry.remove, uuid)
        except AlreadyRunning as error:
            raise OperationRefused(names.RUNNING_CONFLICT, f"{name}: {error}.") from None
        del self._instances[uuid]
        log.info("deleted", instance=instance.metadata.name, uuid=str(uuid))

    async def pcrs(self, name: str) -> Digests:
        """The PCR values of a running TPM."""
        pcrs = await self._find(name).pcrs()
        return Digests(
            banks={
                bank: {index: digest.hex() for index, digest in sorted(digests.items())}
                for bank, digests in pcrs.banks.items()
            }
        )

    def _find(self, name: str) -> Instance:
        for instance in self._instances.values():
            if name in (instance.metadata.name, str(instance.metadata.uuid)):
                return instance
        raise OperationRefused(names.NOT_FOUND, f"There is no instance {name!r}.")

    def _plan(self, request: CreateRequest) -> Metadata:
        """The metadata of a new instance."""
        if not valid_name(request.name):
            raise OperationRefused(
                names.INVALID,
                "name: letters, digits and _ . : @ - are permitted, 64 at most, not beginning with "
                f"a point or dash; {' and '.join(sorted(names.RESERVED_NAMES))} is taken",
            )
        named = _as_uuid(request.name)
        if named is not None and request.uuid not in (None, named):
            raise OperationRefused(names.INVALID, "name: it is the UUID of another instance")
        configuration = self._host.configuration
        try:
            provider = self._host.keys.choose(request.provider)
        except KeyMissing as error:
            raise OperationRefused(names.KEY_UNAVAILABLE, f"{error}.") from None
        data_socket = request.data_socket
        return Metadata(
            name=request.name,
            uuid=request.uuid or named or uuid4(),
            created=datetime.now(UTC),
            provider=provider.name,
            profile=request.profile or configuration.defaults.profile,
            pcr_banks=tuple(request.pcr_banks or configuration.defaults.pcr_banks),
            data_socket=configuration.sockets.data_socket if data_socket is None else data_socket,
            autostart=False,
        )

    @contextlib.contextmanager
    def _reserved(self, metadata: Metadata) -> Iterator[None]:
        """Keep name and UUID for a new instance. Raises OperationRefused if either is taken."""
        taken = self._coming | {
            word
            for instance in self._instances.values()
            for word in (instance.metadata.name, str(instance.metadata.uuid))
        }
        ours = {metadata.name, str(metadata.uuid)}
        if both := sorted(ours & taken):
            raise OperationRefused(names.EXISTS, f"There is an instance {both[0]} already.")
        self._coming |= ours
        try:
            yield
        finally:
            self._coming -= ours

    async def _manufacture(self, metadata: Metadata, provider: str | None) -> None:
        """Make a TPM in a directory that appears when it is complete."""
        registry = self._host.registry
        try:
            key = await self._host.keys.fresh(metadata.uuid, self._host.keys.choose(provider))
        except KeyMissing as error:
            raise OperationRefused(names.KEY_UNAVAILABLE, f"{error}.") from None
        with _storage_refusals():
            try:
                directory = await trio.to_thread.run_sync(registry.prepare, metadata)
                try:
                    await launch.manufacture(self._host, metadata, key, directory)
                    await trio.to_thread.run_sync(registry.publish, metadata.uuid)
                except BaseException:
                    with contextlib.suppress(StorageError):
                        registry.discard(metadata.uuid)
                    raise
                finally:
                    os.close(directory)
            except WorkerFailed as error:
                raise OperationRefused(names.UNAVAILABLE, f"{error.reason}.") from None
            except (SpawnError, WorkerEnded) as error:
                raise OperationRefused(names.INTERNAL, f"{error}.") from None
            finally:
                wipe(key.dek)


@contextlib.contextmanager
def _storage_refusals() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        raise OperationRefused(names.UNAVAILABLE, f"The state directory: {error}.") from None


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _describe(instance: Instance) -> InstanceInfo:
    metadata, condition = instance.metadata, instance.condition
    data = instance.endpoints.data
    return InstanceInfo(
        name=metadata.name,
        uuid=metadata.uuid,
        state=condition.state,
        reason=condition.reason,
        since=condition.since,
        created=metadata.created,
        autostart=metadata.autostart,
        provider=metadata.provider,
        profile=metadata.profile,
        pcr_banks=list(metadata.pcr_banks),
        control_socket=str(instance.endpoints.control),
        data_socket=None if data is None else str(data),
    )
