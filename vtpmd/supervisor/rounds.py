"""What is done for every instance that is served every few minutes, whatever its clients do."""

import trio

from vtpmd.api import names

from . import lease
from .fleet import Fleet

ROUND = 300.0
"""Seconds between two visits to an instance."""


async def go_round(fleet: Fleet) -> None:
    """Note the newest state of each TPM, and that it is served here, one after the other."""
    while True:
        served = [each for each in fleet if each.condition.state == names.RUNNING]
        for instance in served:
            await trio.sleep(ROUND / len(served))
            await instance.note_newest()
            with instance.if_idle() as idle:  # so that nobody stops it meanwhile
                if idle and instance.condition.state == names.RUNNING:
                    uuid = instance.metadata.uuid
                    await trio.to_thread.run_sync(lease.renew, fleet.host.registry, uuid)
        if not served:
            await trio.sleep(ROUND)
