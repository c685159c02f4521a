"""Two acts at the same time."""

from functools import partial

import pytest
import trio
import trio.testing

from vtpmd.supervisor.together import together


class _RefusedError(Exception):
    pass


async def _after(seconds: float, value: str) -> str:
    await trio.sleep(seconds)
    return value


async def _refuse(seconds: float) -> str:
    await trio.sleep(seconds)
    raise _RefusedError(str(seconds))


async def test_both_go_on_at_the_same_time(autojump_clock: trio.testing.MockClock) -> None:
    assert await together(partial(_after, 2, "one"), partial(_after, 3, "other")) == (
        "one",
        "other",
    )
    assert trio.current_time() == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize("first", [True, False])
async def test_what_one_raises_is_raised_as_it_is_and_ends_the_other(
    first: bool, autojump_clock: trio.testing.MockClock
) -> None:
    acts = [partial(_refuse, 1), partial(_after, 60, "never")]
    with pytest.raises(_RefusedError, match="1"):
        await together(*(acts if first else acts[::-1]))
    assert trio.current_time() == pytest.approx(1, abs=0.01)


async def test_of_two_that_fail_the_first_is_told(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(_RefusedError, match="1"):
        await together(partial(_refuse, 2), partial(_refuse, 1))


async def test_who_is_cancelled_ends_both(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(1) as scope:
        await together(partial(_after, 60, "one"), partial(_after, 60, "other"))
    assert scope.cancelled_caught
