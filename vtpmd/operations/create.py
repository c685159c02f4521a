"""Create: a new TPM with secrets of its own."""

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, InstanceInfo
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.models import UnknownModelError, demand_known
from vtpmd.supervisor.refusals import refusals

from .new import introduce, manufacture, plan


async def create(fleet: Fleet, request: CreateRequest) -> InstanceInfo:
    """Make a new TPM, and serve it unless asked not to. Raises OperationError."""
    configuration, data_socket = fleet.host.configuration, request.data_socket
    metadata = plan(
        fleet.host,
        request.name,
        request.uuid,
        provider=request.provider,
        profile=request.profile or configuration.defaults.profile,
        pcr_banks=request.pcr_banks or configuration.defaults.pcr_banks,
        data_socket=configuration.sockets.data_socket if data_socket is None else data_socket,
        owner=request.owner,
        mode=request.mode,
    )
    await _demand_model(fleet, metadata)
    return await introduce(fleet, await manufacture(fleet, metadata), request.start)


async def _demand_model(fleet: Fleet, metadata: Metadata) -> None:
    with refusals():
        models = await fleet.host.zygote.models()
    try:
        demand_known(models, metadata.profile, metadata.pcr_banks)
    except UnknownModelError as error:
        raise OperationError(problems.INVALID, str(error)) from None
