"""A claim waits a moment for the last holder's files to be closed, and no longer."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.supervisor.test_registry import made
from vtpmd.linux.errors import InUseError
from vtpmd.supervisor.claim import claim
from vtpmd.supervisor.registry import Registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with closing(Registry(tmp_path / "state")) as registry:
        yield registry


async def test_a_lock_that_outlives_its_holder_for_a_moment(
    registry: Registry, autojump_clock: trio.testing.MockClock
) -> None:
    """Whoever lists /proc/PID/fd holds what is closed meanwhile."""
    uuid = made(registry, "web1").uuid
    with registry.claimed(uuid) as lock:
        lingering = os.dup(lock)

    async def let_go() -> None:
        await trio.sleep(0.5)
        os.close(lingering)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(let_go)
        async with claim(registry, uuid) as held:
            assert trio.current_time() >= 0.5
            assert os.fstat(held).st_size == 0
            with pytest.raises(InUseError), registry.claimed(uuid):
                pass
    with registry.claimed(uuid):
        pass


async def test_an_instance_that_stays_in_use(
    registry: Registry, autojump_clock: trio.testing.MockClock
) -> None:
    uuid = made(registry, "web1").uuid
    began = trio.current_time()
    with registry.claimed(uuid), pytest.raises(InUseError, match="still uses its state"):
        async with claim(registry, uuid):
            pass
    assert 1.5 < trio.current_time() - began < 3
