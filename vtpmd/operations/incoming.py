"""Create an instance whose TPM comes from another host, with its migrating machine."""

from datetime import UTC, datetime

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import IncomingRequest, InstanceInfo
from vtpmd.pki.errors import PkiError
from vtpmd.storage.errors import StorageError
from vtpmd.supervisor.access import check_access
from vtpmd.supervisor.certificates import put
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.registry import Entry
from vtpmd.telemetry.log import get_logger

from .announced import demand_fit, read
from .new import identify, introduce, publish
from .ticket import Ticket

log = get_logger("incoming")


async def create_incoming(fleet: Fleet, request: IncomingRequest, data: bytes) -> InstanceInfo:
    """Wait for a TPM, as its ticket `data` says or, if that is empty, the request alone.

    Raises OperationError, with a ticket also if this host could not open what it announces.
    """
    ticket = None
    if data:
        ticket = await read(fleet.host, data)
        await demand_fit(fleet.host, ticket)
    metadata = _plan(fleet.host, request, ticket)
    check_access(fleet.host.configuration.sockets, metadata)
    return await introduce(fleet, await _make(fleet, metadata, ticket), request.start)


def _plan(host: Host, request: IncomingRequest, ticket: Ticket | None) -> Metadata:
    said = _unannounced(host, request) if ticket is None else ticket.metadata
    if request.uuid not in (None, said.uuid):
        raise OperationError(problems.INVALID, f"uuid: the ticket is of {said.uuid}")
    name, data_socket = request.name or said.name, request.data_socket
    owner = said.owner if request.owner is None else request.owner
    mode = said.mode if request.mode is None else request.mode
    return Metadata(
        name=name,
        uuid=identify(host, name, said.uuid),
        created=said.created,
        provider=said.provider,
        profile=said.profile,
        pcr_banks=said.pcr_banks,
        identity=said.identity,
        data_socket=said.data_socket if data_socket is None else data_socket,
        autostart=False,
        owner=owner or None,
        mode=mode or None,
        handover="ours",
        handover_generation=0,
        incoming=True,
        labels=(),
        made_for="",
    )


def _unannounced(host: Host, request: IncomingRequest) -> Metadata:
    """What can be said of a TPM without a ticket. Raises OperationError."""
    if request.name is None or request.uuid is None:
        raise OperationError(problems.INVALID, "name, uuid: without a ticket both are needed")
    return Metadata(
        name=request.name,
        uuid=request.uuid,
        created=datetime.now(UTC),
        provider="",
        profile="",
        pcr_banks=(),
        identity=request.uuid,
        data_socket=host.configuration.sockets.data_socket,
    )


async def _make(fleet: Fleet, metadata: Metadata, ticket: Ticket | None) -> Instance:
    """An instance without a TPM. Raises OperationError."""

    async def fill(directory: int) -> None:
        if ticket is not None:
            await trio.to_thread.run_sync(put, directory, ticket.certificates)

    with fleet.reserved(metadata), refusals():
        await publish(fleet.host, metadata, fill)
        if ticket is not None:
            await _note(fleet.host, ticket)
        log.info("awaited", instance=metadata.name, uuid=str(metadata.uuid))
        return fleet.add(Entry(metadata))


async def _note(host: Host, ticket: Ticket) -> None:
    """Note what the source knows of its TPM; what can't be noted takes nothing from the TPM."""
    identity = ticket.metadata.identity
    try:
        await host.identities.take_over(identity, ticket.ledger, ticket.certificates)
    except (PkiError, StorageError) as error:
        log.warning("identity-not-noted", identity=str(identity), reason=str(error))
