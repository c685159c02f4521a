"""What is done for every instance that is served every few minutes, whatever its clients do."""

import trio

from vtpmd.api import names

from .fleet import Fleet

ROUND = 300.0
"""Seconds between two visits to an instance."""


async def go_round(fleet: Fleet) -> None:
    """Note the newest state of each TPM, one after the other, evenly spread over the round."""
    while True:
        served = [each for each in fleet if each.condition.state == names.RUNNING]
        for instance in served:
            await trio.sleep(ROUND / len(served))
            await instance.note_newest()
        if not served:
            await trio.sleep(ROUND)
