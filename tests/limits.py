"""A time limit: a test that waits for what never comes fails, and does not hang."""

import signal
from collections.abc import Iterator
from types import FrameType

import pytest
import trio

SECONDS = 240
GRACE = 30


class TooLongError(Exception):
    """A test took too long."""

    def __init__(self) -> None:
        super().__init__(f"the test took longer than {SECONDS} s")


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """Break off a test that takes too long: in good order where trio runs, if that helps."""
    trio_may_end = True

    def break_off(_number: int, _frame: FrameType | None) -> None:
        nonlocal trio_may_end
        if not (trio_may_end and trio.lowlevel.in_trio_run()):
            raise TooLongError
        trio_may_end = False
        signal.alarm(GRACE)
        token = trio.lowlevel.current_trio_token()
        token.run_sync_soon(trio.lowlevel.spawn_system_task, _give_up)

    before = signal.signal(signal.SIGALRM, break_off)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


async def _give_up() -> None:
    raise TooLongError  # a system task's error cancels all others
