"""Create: a new TPM with secrets of its own."""

from datetime import UTC, datetime

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, InstanceInfo
from vtpmd.supervisor.access import check_access
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.models import UnknownModelError, demand_known
from vtpmd.supervisor.refusals import refusals

from .idempotency import made_before, mark
from .new import identify, introduce, manufacture, provider_called


async def create(fleet: Fleet, request: CreateRequest, key: str | None = None) -> InstanceInfo:
    """Make a new TPM, and serve it unless asked not to. Raises OperationError.

    What a request with this `key` has made is not made again.
    """
    if key is None:
        return await _create(fleet, request, "")
    asked = mark(key, request)
    async with fleet.turn(asked.key):
        before = made_before(fleet, asked)
        if before is None:
            return await _create(fleet, request, str(asked))
        wanted = before.metadata.autostart  # unless somebody has stopped it since
        return await introduce(fleet, before, request.start and wanted)


async def _create(fleet: Fleet, request: CreateRequest, made_for: str) -> InstanceInfo:
    metadata = _plan(fleet.host, request, made_for)
    check_access(fleet.host.configuration.sockets, metadata)
    await _demand_model(fleet, metadata)
    return await introduce(fleet, await manufacture(fleet, metadata), request.start)


def _plan(host: Host, request: CreateRequest, made_for: str) -> Metadata:
    defaults, sockets = host.configuration.defaults, host.configuration.sockets
    uuid = identify(host, request.name, request.uuid)
    data_socket = request.data_socket
    return Metadata(
        name=request.name,
        uuid=uuid,
        created=datetime.now(UTC),
        provider=provider_called(host, request.provider),
        profile=request.profile or defaults.profile,
        pcr_banks=tuple(request.pcr_banks or defaults.pcr_banks),
        identity=uuid,
        data_socket=sockets.data_socket if data_socket is None else data_socket,
        autostart=request.start,
        owner=request.owner or None,
        mode=request.mode or None,
        handover="ours",
        handover_generation=0,
        incoming=False,
        labels=(),
        made_for=made_for,
    )


async def _demand_model(fleet: Fleet, metadata: Metadata) -> None:
    with refusals():
        models = await fleet.host.zygote.models()
    try:
        demand_known(models, metadata.profile, metadata.pcr_banks)
    except UnknownModelError as error:
        raise OperationError(problems.INVALID, str(error)) from None
