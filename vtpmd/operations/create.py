"""Create: a new TPM with secrets of its own."""

from vtpmd.api.schema import CreateRequest, InstanceInfo
from vtpmd.supervisor.fleet import Fleet

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
    )
    return await introduce(fleet, await manufacture(fleet, metadata), request.start)
