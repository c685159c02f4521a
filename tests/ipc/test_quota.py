"""How much is told, when what was not told is, and that noise silences no alarm."""

import pytest

from vtpmd.ipc.events import ALARMS, HAND_OVERS, UNWANTED
from vtpmd.ipc.quota import INTERVAL, Bucket, Quota, supervisors_quota, workers_quota


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(burst=3, rate=0.5)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(101.0)
    assert bucket.take(102.0)
    assert [bucket.take(10_000.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(burst=1, rate=1.0)
    assert bucket.take(100.0)
    assert not bucket.take(50.0)


def test_what_is_not_admitted_is_counted_and_told_once_per_interval() -> None:
    quota = Quota(2, 1.0)
    assert [quota.admits("client-connected", 5.0) for _ in range(5)] == [True] * 2 + [False] * 3
    assert quota.due == 5.0 + INTERVAL
    assert not quota.admits("client-connected", 5.5)
    assert quota.due == 5.0 + INTERVAL
    assert quota.suppressed() == 4
    assert quota.due is None
    assert quota.suppressed() == 0


def test_noise_silences_no_alarm() -> None:
    quota = Quota(2, 0.0)
    while quota.admits("a word of another version", 1.0):
        pass
    for alarm in sorted(ALARMS)[:2]:
        assert quota.admits(alarm, 1.0)
    assert not quota.admits("defect", 1.0)


def test_unwanted_clients_silence_nothing_else_and_are_told_of_rarely() -> None:
    quota = Quota(20, 1.0)
    told = [quota.admits(kind, 1.0) for _ in range(100) for kind in sorted(UNWANTED)]
    assert told.count(True) == 5
    for kind in sorted(HAND_OVERS | ALARMS):
        assert quota.admits(kind, 1.0)
    assert quota.suppressed() == 300 - 5


@pytest.mark.parametrize("kind", ["client-connected", "client-refused"])
def test_a_supervisor_never_refuses_what_a_worker_may_tell(kind: str) -> None:
    worker, supervisor = workers_quota(), supervisors_quota()
    for tick in range(3000):
        now = tick / 50
        if worker.due is not None and worker.due <= now:
            worker.suppressed()
            assert supervisor.admits("events-suppressed", now)
        if worker.admits(kind, now):
            assert supervisor.admits(kind, now)
