"""What a running instance costs the supervisor, which may have a thousand of them."""

import gc
import tracemalloc

import trio.testing

from tests.supervisor.stage import Stage
from vtpmd.api.schema import CreateRequest
from vtpmd.operations.create import create

_BUDGET = 20_000
"""Octets of Python objects. A buffer for the largest message alone has 65,536."""
_INSTANCES = 5


async def test_a_running_instance_costs_the_supervisor_little(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="first"))  # what is made once
    tracemalloc.start()
    try:
        before = await _settled()
        for number in range(_INSTANCES):
            await create(stage.fleet, CreateRequest(name=f"web{number}"))
        each = (await _settled() - before) / _INSTANCES
    finally:
        tracemalloc.stop()
    assert each < _BUDGET, f"{each:.0f} octets"


async def _settled() -> int:
    """Octets in use while nothing goes on."""
    await trio.testing.wait_all_tasks_blocked(0.05)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
