"""The log of an instance, bound when there is a line for it: most have none for months."""

from typing import Any

from vtpmd.telemetry.log import get_logger

from .metadata import Metadata

log = get_logger("instance")


def log_of(metadata: Metadata, **more: object) -> Any:
    """A logger whose lines carry name and UUID of this instance, and `more`."""
    return log.bind(instance=metadata.name, uuid=str(metadata.uuid), **more)
