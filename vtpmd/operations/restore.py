"""Restore: make an instance from the sealed state in a backup."""

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import InstanceInfo, RestoreRequest
from vtpmd.supervisor.fleet import Fleet

from .bundle import BundleError, decode
from .restoring import restore_bundle


async def restore(fleet: Fleet, request: RestoreRequest, data: bytes) -> InstanceInfo:
    """Make an instance from the file of a backup. Raises OperationError."""
    try:
        bundle = await trio.to_thread.run_sync(decode, data)
    except BundleError as error:
        raise OperationError(problems.BUNDLE_REFUSED, f"The bundle is refused: {error}.") from None
    return await restore_bundle(fleet, request, bundle)
