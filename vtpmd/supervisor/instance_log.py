"""The log of an instance, bound when there is a line for it: most have none for months."""

from typing import Any

from vtpmd.api.names import FAILED, LOCKED
from vtpmd.telemetry.log import get_logger

from .metadata import Metadata
from .states import Condition

log = get_logger("instance")


def tell_state(bound: Any, condition: Condition) -> None:
    """Log which state an instance has come to, and why, as gravely as it is."""
    levels = {FAILED: bound.error, LOCKED: bound.warning}
    tell = levels.get(condition.state, bound.info)
    tell("state", state=condition.state, reason=condition.reason)


def log_of(metadata: Metadata, **more: object) -> Any:
    """A logger whose lines carry name and UUID of this instance, and `more`."""
    return log.bind(instance=metadata.name, uuid=str(metadata.uuid), **more)
