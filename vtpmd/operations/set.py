"""Set: change settings of an instance."""

from collections.abc import Callable
from typing import Any, Final

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import InstanceInfo, SetRequest
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.refusals import refusals

from .describe import describe


def own(text: str | None) -> str | None:
    """A setting of the instance's own; None stands for that of the configuration."""
    return text or None


SETTINGS: Final[dict[str, Callable[[Any], object]]] = {"owner": own, "mode": own}
"""Fields of SetRequest, which are those of the metadata: from what is asked to what is stored."""


async def set_(fleet: Fleet, name: str, request: SetRequest) -> InstanceInfo:
    """Change what is asked for, and leave the rest as it is. Raises OperationError."""
    instance = fleet.find(name)
    asked = {field: getattr(request, field) for field in SETTINGS}
    changes = {field: SETTINGS[field](value) for field, value in asked.items() if value is not None}
    if not changes:
        raise OperationError(problems.INVALID, f"nothing is set: one of {', '.join(SETTINGS)}")
    with refusals():
        await instance.set(**changes)
    return await describe(fleet, instance)
