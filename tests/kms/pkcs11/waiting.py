"""Waiting for what processes do, by the clock of the world and never by sleeping."""

import os
import select
import time
from collections.abc import Callable

import trio

PATIENCE = 60.0


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        await trio.lowlevel.checkpoint()


def ended(pidfd: int) -> None:
    """Wait for the end of a process, and close its descriptor."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(PATIENCE * 1000), "the process does not end"
    os.close(pidfd)
