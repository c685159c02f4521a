"""A time limit: a test that waits for what never comes fails, and does not hang."""

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

SECONDS = 240


class TooLongError(Exception):
    """A test took longer than SECONDS."""


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """Break off a test that takes too long, wherever it is."""

    def break_off(_: int, frame: FrameType | None) -> None:
        raise TooLongError(f"the test took longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, break_off)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
