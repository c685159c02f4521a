"""Take back: let a TPM that was handed over go on here after all."""

from vtpmd.api.schema import InstanceInfo
from vtpmd.supervisor.fleet import Fleet

from .hand_over import change


async def take_back(fleet: Fleet, name: str) -> InstanceInfo:
    """Make the TPM ours again; what went on elsewhere is lost to it. Raises OperationError."""
    return await change(fleet, name, "take-back")
