"""Clone: a copy with the same secrets, or one of the same kind with secrets of its own."""

from datetime import UTC, datetime

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CloneRequest, InstanceInfo
from vtpmd.ipc.messages import Copy, Stored
from vtpmd.storage.key import Key
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor.access import check_access
from vtpmd.supervisor.certificates import put, settle
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.launch import carry_out
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act

from .examine import examine, unlocked
from .new import identify, introduce, make, manufacture, provider_called

REPLACE_WARNING = (
    "{name} holds {objects} and {indices} of its owner. With the policy replace the clone gets a "
    "TPM with other secrets: keys of {name} and what is sealed to its TPM, such as disk "
    "encryption keys, will not open with the clone. Workloads in it may fail that use them."
)


async def clone(fleet: Fleet, name: str, request: CloneRequest) -> InstanceInfo:
    """A new instance like another, which may be running. Raises OperationError."""
    source, host = fleet.find(name), fleet.host
    source.demand(Act.CLONE)
    share_identity = (request.policy or host.configuration.clone.policy) == "copy"
    metadata = _plan(host, source.metadata, request, share_identity)
    check_access(host.configuration.sockets, metadata)
    if share_identity:
        made = await _copy(fleet, source, metadata)
    else:
        if not request.confirmed:
            await _demand_confirmation(host, source)
        made = await manufacture(fleet, metadata)
    return await introduce(fleet, made, request.start)


def _plan(host: Host, original: Metadata, request: CloneRequest, share_identity: bool) -> Metadata:
    uuid = identify(host, request.name, request.uuid)
    data_socket = request.data_socket
    owner = original.owner if request.owner is None else request.owner
    mode = original.mode if request.mode is None else request.mode
    return Metadata(
        name=request.name,
        uuid=uuid,
        created=datetime.now(UTC),
        provider=provider_called(host, request.provider or original.provider),
        profile=original.profile,
        pcr_banks=original.pcr_banks,
        identity=original.identity if share_identity else uuid,
        data_socket=original.data_socket if data_socket is None else data_socket,
        autostart=False,
        owner=owner or None,
        mode=mode or None,
        handover="ours",
        handover_generation=0,
        incoming=False,
        labels=(),
        made_for="",
    )


async def _copy(fleet: Fleet, source: Instance, metadata: Metadata) -> Instance:
    """The newest durable state of `source`, sealed anew as another instance."""
    host, uuid = fleet.host, source.metadata.uuid

    async def fill(directory: int, files: list[int], key: Key) -> None:
        certificates = await trio.to_thread.run_sync(settle, host.registry, uuid)
        await trio.to_thread.run_sync(put, directory, certificates)
        dek = await unlocked(host, source)
        try:
            order = Copy(
                uuid=metadata.uuid,
                name=metadata.name,
                source=uuid,
                source_dek=dek,
                key=key,
                sandbox=host.configuration.sandbox,
            )
            with host.registry.nvram(uuid) as original:
                await carry_out(host, metadata, order, Stored, [*files, original])
        finally:
            wipe(dek)

    async with source.at_rest(Act.CLONE):
        return await make(fleet, metadata, fill)


async def _demand_confirmation(host: Host, source: Instance) -> None:
    """Raise OperationError if the owner has anything in the TPM that the clone would lack."""
    async with source.at_rest(Act.CLONE):
        with refusals():
            examined = await examine(host, source)
    if examined.owner_objects or examined.owner_indices:
        objects = _counted(examined.owner_objects, "persistent key", "persistent keys")
        indices = _counted(examined.owner_indices, "NV index", "NV indices")
        warning = REPLACE_WARNING.format(
            name=source.metadata.name, objects=objects, indices=indices
        )
        raise OperationError(problems.UNCONFIRMED, warning)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
