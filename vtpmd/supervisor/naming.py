"""Which names an instance may have: judged here, whichever way it comes in."""

from uuid import UUID

from vtpmd.api import names, problems
from vtpmd.api.problems import OperationError
from vtpmd.config.schema import Configuration

from .endpoints import Endpoints
from .metadata import as_uuid, valid_name

_PATTERN = (
    "letters, digits and _ . : @ - are permitted, 64 at most, not beginning with "
    f"a point or dash; {' and '.join(sorted(names.RESERVED_NAMES))} is taken"
)


def name_fault(name: str, uuid: UUID) -> str | None:
    """Why the instance of this UUID may not have this name; None if it may.

    A UUID can only be the name of the instance that it belongs to, so that a name or UUID never
    finds two instances.
    """
    if not valid_name(name):
        return _PATTERN
    if as_uuid(name) not in (None, uuid):
        return "it is the UUID of another instance"
    return None


def check_name(configuration: Configuration, name: str, uuid: UUID) -> None:
    """Raise OperationError unless an instance may have this name on this host."""
    fault = name_fault(name, uuid)
    if fault is None:
        endpoints = Endpoints(configuration, name, uuid, data_socket=False)
        if not endpoints.fit:
            fault = f"the socket path {endpoints.control} would be too long"
    if fault is not None:
        raise OperationError(problems.INVALID, f"name: {fault}")
