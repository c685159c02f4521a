"""What administrators can ask of the daemon: the operations behind the admin interface."""

import contextlib
from dataclasses import replace
from typing import get_args

import trio

from vtpmd import __version__
from vtpmd.api import names
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import (
    Capabilities,
    CreateRequest,
    Deletion,
    Digests,
    Failure,
    InstanceInfo,
    KeyFate,
    UnlockResult,
    WorkerInfo,
)
from vtpmd.config.schema import PcrBank, ProfileName
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.supervisor.errors import KeyMissingError
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.keys import Erasure
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.registry import Entry
from vtpmd.supervisor.states import Act
from vtpmd.telemetry.log import get_logger

from . import create as creation
from .describe import key_slots
from .provider import provider_info

STOPPED_BY_ADMINISTRATOR = "stopped by an administrator"

log = get_logger("service")


class Service:
    """All instances of this host, and what can be done with them.

    Operations raise OperationError. `name` is an instance's name or its UUID.
    """

    def __init__(self, host: Host) -> None:
        self.fleet = Fleet(host)
        self._host = host

    async def begin(self, entries: list[Entry]) -> None:
        """Take the registry's instances up: adopt living workers, start what was running."""
        await self.fleet.open(entries)

    async def capabilities(self) -> Capabilities:
        """What can be done on this host."""
        survey = await self._host.keys.survey()
        create = "available"
        try:
            chosen = self._host.keys.choose(None)
            faults = {state.provider.name: state.fault for state in survey}
            if fault := faults[chosen.name]:
                create = f"unavailable: {fault}"
        except KeyMissingError as error:
            create = f"unavailable: {error}"
        return Capabilities(
            version=__version__,
            create=create,
            profiles=get_args(ProfileName),
            pcr_banks=get_args(PcrBank),
            key_providers=tuple(map(provider_info, survey)),
            sandbox=self._host.configuration.sandbox,
            states=(names.STOPPED, names.RUNNING, names.LOCKED, names.FAILED),
        )

    def list(self) -> list[InstanceInfo]:
        """All instances by name, without what only their workers know."""
        return [self._describe(instance) for instance in self.fleet]

    async def info(self, name: str) -> InstanceInfo:
        """One instance, with what its worker says."""
        return await self.info_of(self.fleet.find(name))

    async def info_of(self, instance: Instance) -> InstanceInfo:
        """One instance, with what its worker says."""
        info = self._describe(instance)
        with contextlib.suppress(EnvelopeError, StorageError):
            uuid = instance.metadata.uuid
            envelope = await trio.to_thread.run_sync(self._host.registry.envelope, uuid)
            info = replace(info, keys=key_slots(envelope.slots))
        if status := await instance.status():
            worker = WorkerInfo(
                pid=status.pid,
                tpm=status.tpm,
                generation=status.generation,
                clients=status.clients,
                commands=status.commands,
                storage=status.storage,
                sandbox=status.sandbox,
            )
            info = replace(info, worker=worker)
        return info

    async def create(self, request: CreateRequest) -> InstanceInfo:
        """Make a new TPM, and serve it unless asked not to."""
        instance = await creation.create(self.fleet, request)
        return await self.begin_serving(instance) if request.start else await self.info_of(instance)

    async def begin_serving(self, instance: Instance) -> InstanceInfo:
        """Serve an instance that has just been made; it stays if that fails."""
        try:
            with refusals():
                await instance.start()
        except OperationError as refused:
            detail = f"{instance.metadata.name} is created, but not served: {refused.detail}"
            raise OperationError(refused.problem, detail) from None
        return await self.info_of(instance)

    async def start(self, name: str) -> InstanceInfo:
        """Serve an instance, now and after a restart of the daemon."""
        with refusals():
            await self.fleet.find(name).start()
        return await self.info(name)

    async def stop(self, name: str, remember: bool) -> InstanceInfo:
        """Serve an instance no longer; `remember` it when the daemon starts next."""
        with refusals():
            await self.fleet.find(name).stop(remember, STOPPED_BY_ADMINISTRATOR)
        return await self.info(name)

    async def unlock(self, name: str) -> InstanceInfo:
        """Try at once to get the key of a locked instance."""
        instance = self.fleet.find(name)
        with refusals():
            await instance.unlock()
        return await self.info_of(instance)

    async def unlock_all(self, provider: str | None) -> UnlockResult:
        """Try all locked instances at once, or those whose key this provider holds."""
        locked = [
            instance
            for instance in self.fleet
            if instance.condition.state == names.LOCKED
            and provider in (None, instance.metadata.provider)
        ]
        unlocked: list[str] = []
        failed: list[Failure] = []

        async def attempt(instance: Instance) -> None:
            name = instance.metadata.name
            try:
                await self.unlock(name)
                unlocked.append(name)
            except OperationError as refused:
                failure = Failure(name=name, code=refused.problem.code, detail=refused.detail)
                failed.append(failure)

        async with trio.open_nursery() as nursery:
            for instance in locked:
                nursery.start_soon(attempt, instance)
        return UnlockResult(unlocked=tuple(unlocked), failed=tuple(failed))

    async def delete(self, name: str) -> Deletion:
        """Remove an instance that is not running for good; what of its secrets is destroyed."""
        instance = self.fleet.find(name)
        metadata, registry = instance.metadata, self._host.registry
        erasures: list[Erasure] | None = None
        async with instance.retired(Act.DELETE):
            with refusals():
                unreadable = contextlib.suppress(EnvelopeError, StorageError)
                with registry.claimed(metadata.uuid), unreadable:
                    envelope = await trio.to_thread.run_sync(registry.envelope, metadata.uuid)
                    erasures = await self._host.keys.destroy(envelope, metadata.uuid)
                await trio.to_thread.run_sync(registry.remove, metadata.uuid)
            self.fleet.drop(metadata.uuid)
        log.info("deleted", instance=metadata.name, uuid=str(metadata.uuid))
        return Deletion(
            deleted=metadata.name,
            uuid=metadata.uuid,
            keys=None if erasures is None else tuple(map(_fate, erasures)),
            secrets_remain_in=self.fleet.sharing_identity(metadata),
        )

    async def pcrs(self, name: str) -> Digests:
        """The PCR values of a running TPM."""
        pcrs = await self.fleet.find(name).pcrs()
        return Digests(
            banks={
                bank: {index: digest.hex() for index, digest in sorted(digests.items())}
                for bank, digests in pcrs.banks.items()
            }
        )

    def _describe(self, instance: Instance) -> InstanceInfo:
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
            pcr_banks=metadata.pcr_banks,
            control_socket=str(instance.endpoints.control),
            data_socket=None if data is None else str(data),
            shares_identity_with=self.fleet.sharing_identity(metadata),
        )


def _fate(erasure: Erasure) -> KeyFate:
    slot = erasure.slot
    return KeyFate(
        provider=slot.provider,
        key_ref=slot.key_ref,
        key_version=slot.key_version,
        destroyed=erasure.erased,
        reason=erasure.reason,
    )
