"""Migrate: what the host's administrator, or a hook, says of a migration; QEMU moves the state."""

from typing import cast

from vtpmd.api.schema import InstanceInfo, MigrateRequest
from vtpmd.ipc.messages import HandOverAct
from vtpmd.supervisor.fleet import Fleet

from .hand_over import change


async def migrate(fleet: Fleet, name: str, request: MigrateRequest) -> InstanceInfo:
    """Declare a migration, cancel that, or say that one is done. Raises OperationError."""
    return await change(fleet, name, cast(HandOverAct, request.step))
