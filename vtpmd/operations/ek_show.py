"""EK show: the endorsement keys of an instance and their certificates."""

from vtpmd.api.schema import EkInfo
from vtpmd.supervisor.fleet import Fleet

from .ek_report import report


async def ek_show(fleet: Fleet, name: str) -> EkInfo:
    """The EKs of one instance. Raises OperationError."""
    return await report(fleet, fleet.find(name))
