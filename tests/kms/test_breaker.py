"""A service that fails several times in a row is left alone, then probed once."""

from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from vtpmd.kms.breaker import Breaker
from vtpmd.kms.errors import KeyRefusedError, KeyUnavailableError

DOWN = KeyUnavailableError("nobody answers", retry=True)


def fail(breaker: Breaker, error: Exception = DOWN) -> None:
    with pytest.raises(type(error), match=str(error)), breaker.attempt():
        raise error


def succeed(breaker: Breaker) -> None:
    with breaker.attempt():
        pass


def is_refused(breaker: Breaker) -> str:
    """Whether an attempt is refused before it is made; returns the reason."""
    with pytest.raises(KeyUnavailableError, match="kms failed") as caught, breaker.attempt():
        raise AssertionError("the attempt was made")
    assert caught.value.retry
    return caught.value.reason


@pytest.fixture
def breaker() -> Breaker:
    return Breaker("kms", threshold=3, first_pause=5, longest_pause=15)


async def test_it_opens_after_failures_in_a_row(breaker: Breaker, mock_clock: MockClock) -> None:
    for _ in range(3):
        fail(breaker)
    assert is_refused(breaker) == (
        "kms failed 3 times in a row and is tried again in 5 s; the last time: nobody answers"
    )


async def test_a_success_between_them_forgets_failures(breaker: Breaker) -> None:
    for _ in range(5):
        fail(breaker)
        fail(breaker)
        succeed(breaker)


@pytest.mark.parametrize(
    "answer",
    [
        KeyUnavailableError("denied", retry=False),
        KeyRefusedError("damaged"),
        ValueError("a defect"),
    ],
)
async def test_an_answer_is_no_failure_of_the_service(breaker: Breaker, answer: Exception) -> None:
    for _ in range(5):
        fail(breaker, answer)
    fail(breaker)
    fail(breaker)
    fail(breaker, answer)
    fail(breaker)
    succeed(breaker)


async def test_after_the_pause_one_probe_decides(breaker: Breaker, mock_clock: MockClock) -> None:
    for _ in range(3):
        fail(breaker)
    mock_clock.jump(4.9)
    is_refused(breaker)
    mock_clock.jump(0.2)
    with breaker.attempt():
        assert "is tried again now" in is_refused(breaker)  # while the probe is under way
    fail(breaker)
    fail(breaker)
    succeed(breaker)


async def test_pauses_grow_up_to_the_longest(breaker: Breaker, mock_clock: MockClock) -> None:
    for _ in range(3):
        fail(breaker)
    for pause in (5, 10, 15, 15):
        mock_clock.jump(pause - 0.1)
        is_refused(breaker)
        mock_clock.jump(0.2)
        fail(breaker)
    mock_clock.jump(20)
    succeed(breaker)
    for _ in range(3):
        fail(breaker)
    assert "in 5 s" in is_refused(breaker)


async def test_attempts_that_fail_together_make_one_pause(
    breaker: Breaker, autojump_clock: MockClock
) -> None:
    async def hang() -> None:
        with suppress(KeyUnavailableError), breaker.attempt():
            await trio.sleep(1)
            raise DOWN

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(hang)
    assert "failed 8 times in a row and is tried again in 5 s" in is_refused(breaker)


async def test_a_probe_that_is_cancelled_makes_room_for_another(
    breaker: Breaker, autojump_clock: MockClock
) -> None:
    for _ in range(3):
        fail(breaker)
    await trio.sleep(5)
    with trio.move_on_after(1), breaker.attempt():
        await trio.sleep_forever()
    succeed(breaker)
