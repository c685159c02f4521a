"""Delays between attempts, on a clock that jumps."""

import trio
import trio.testing

from vtpmd.supervisor.backoff import Backoff


async def test_delays_double_up_to_the_longest(autojump_clock: trio.testing.MockClock) -> None:
    backoff = Backoff(1.0, 5.0)
    assert [backoff.next() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]


async def test_the_limit_holds_within_the_window(autojump_clock: trio.testing.MockClock) -> None:
    backoff = Backoff(0.5, 30.0, limit=2, slow=60.0, window=600.0)
    assert [backoff.next() for _ in range(2)] == [0.5, 1.0]
    assert not backoff.exhausted
    for _ in range(30):  # as long as it goes on
        assert backoff.next() == 60.0
        assert backoff.exhausted
        await trio.sleep(60.0)
    await trio.sleep(601)
    assert backoff.next() == 0.5
    assert not backoff.exhausted


async def test_attempts_without_a_limit_never_end(autojump_clock: trio.testing.MockClock) -> None:
    backoff = Backoff(1.0, 60.0)
    for _ in range(200):
        assert backoff.next() is not None
