"""Claiming an instance for as long as something goes on with it."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from uuid import UUID

import trio

from vtpmd.linux.errors import InUseError

from . import lease
from .registry import Registry

_PATIENCE, _PAUSE = 2.0, 0.02  # seconds


@asynccontextmanager
async def claim(registry: Registry, uuid: UUID) -> AsyncIterator[int]:
    """The descriptor of an instance's lock, as `Registry.claimed`. Raises InUseError, StorageError.

    A lock outlives its holder for a moment: until the kernel has closed the files of a process that
    was killed, and while anybody looks at /proc/PID/fd just when one is closed. So an instance
    counts as in use only when its lock stays held for two seconds. Of another host's processes the
    lease tells.
    """
    given_up = trio.current_time() + _PATIENCE
    with ExitStack() as stack:
        while True:
            last = trio.current_time() >= given_up
            lock = await trio.to_thread.run_sync(_enter, stack, registry, uuid, last)
            if lock is not None:
                break
            await trio.sleep(_PAUSE)  # flock(2) tells nobody
        await trio.to_thread.run_sync(lease.demand_free, registry, uuid)
        yield lock


def _enter(stack: ExitStack, registry: Registry, uuid: UUID, last: bool) -> int | None:
    """The lock, None if it is held and this is not the last try."""
    try:
        return stack.enter_context(registry.claimed(uuid))
    except InUseError:
        if last:
            raise
        return None
