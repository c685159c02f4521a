"""Set: change settings of an instance."""

from collections.abc import Callable
from typing import Any, Final

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import InstanceInfo, SetRequest
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.metadata import MAX_LABELS, Metadata, check_label
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act

from .describe import describe

SOCKETS: Final = frozenset({"data_socket"})
"""Settings that only an instance which is not served can be given: its sockets are others then."""


def own(text: str, _: Metadata) -> str | None:
    """A setting of the instance's own; None stands for that of the configuration."""
    return text or None


def flag(value: bool, _: Metadata) -> bool:
    """A setting that is on or off."""
    return value


def labels(added: dict[str, str], metadata: Metadata) -> tuple[tuple[str, str], ...]:
    """The labels that there are with those that are `added`. Raises OperationError."""
    try:
        for name, value in added.items():
            check_label(name, value)
    except ValueError as error:
        raise OperationError(problems.INVALID, f"labels: {error}.") from None
    changed = {**dict(metadata.labels), **added}
    kept = tuple((name, value) for name, value in sorted(changed.items()) if value)
    if len(kept) > MAX_LABELS:
        raise OperationError(problems.INVALID, f"labels: {MAX_LABELS} at most.")
    return kept


SETTINGS: Final[dict[str, Callable[[Any, Metadata], object]]] = {
    "owner": own,
    "mode": own,
    "autostart": flag,
    "data_socket": flag,
    "labels": labels,
}
"""Fields of SetRequest, which are those of the metadata: from what is asked to what is stored."""


async def set_(fleet: Fleet, name: str, request: SetRequest) -> InstanceInfo:
    """Change what is asked for, and leave the rest as it is. Raises OperationError."""
    instance = fleet.find(name)
    asked = {field: getattr(request, field) for field in SETTINGS}
    changes = {
        field: SETTINGS[field](value, instance.metadata)
        for field, value in asked.items()
        if value is not None
    }
    if not changes:
        raise OperationError(problems.INVALID, f"nothing is set: one of {', '.join(SETTINGS)}")
    if any(changes.get(each) not in (None, getattr(instance.metadata, each)) for each in SOCKETS):
        instance.demand(Act.MOVE)
    with refusals():
        await instance.set(**changes)
    return await describe(fleet, instance)
