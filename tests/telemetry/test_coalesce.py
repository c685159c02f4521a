"""Repeated events: the first by itself, the others counted, and none lost."""

from vtpmd.telemetry.coalesce import Coalescer

Summary = tuple[str | None, int, float]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_is_recorded_and_the_others_are_counted() -> None:
    summaries: list[Summary] = []
    clock = Clock()
    events = Coalescer[str](lambda *summary: summaries.append(summary), clock=clock)
    assert [events.is_first("a") for _ in range(3)] == [True, False, False]
    assert events.is_first("b")
    clock.now += 60
    events.flush()
    assert summaries == [("a", 2, 60.0)]
    # What goes on is only counted; what has stopped is a first one again.
    assert not events.is_first("a")
    assert events.is_first("b")
    clock.now += 10
    events.flush()
    assert summaries[1:] == [("a", 1, 10.0)]
    events.flush()
    assert len(summaries) == 2
    assert events.is_first("a")


def test_beyond_the_capacity_events_are_counted_together() -> None:
    summaries: list[Summary] = []
    clock = Clock()
    events = Coalescer[str](lambda *summary: summaries.append(summary), 2, clock)
    firsts = sum(events.is_first(str(user)) for user in range(1000) for _ in range(3))
    clock.now += 60
    events.flush()
    assert firsts == 2
    assert summaries == [("0", 2, 60.0), ("1", 2, 60.0), (None, 998 * 3, 60.0)]
    events.flush()  # nothing more has happened
    assert len(summaries) == 3
    assert events.is_first("2")
