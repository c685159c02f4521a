"""Part 3, chapter 29: Time, Clock and their rate."""

import itertools
import struct

import pytest

from tests.tpm.agreement import agreed, parameter_error
from tests.tpm.harness import EnginePeer, Password, Result, Tester
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import CC, RH, SU

Both = tuple[Tester, Tester]

INTERVAL = 1 << 22


def read(tester: Tester) -> tuple[int, int, int]:
    """Time, Clock and whether Clock is safe."""
    time, clock, _, _, safe = struct.unpack(">QQIIB", tester.run(CC.READ_CLOCK).parameters)
    return time, clock, safe


def set_clock(tester: Tester, value: int, auth: int = RH.OWNER) -> Result:
    return tester.run(CC.CLOCK_SET, [auth], value.to_bytes(8), [Password()])


def adjust(tester: Tester, steps: int, auth: int = RH.OWNER) -> Result:
    params = steps.to_bytes(1, signed=True)
    return tester.run(CC.CLOCK_RATE_ADJUST, [auth], params, [Password()])


def test_time_and_clock_advance(tester: Tester, engine_peer: EnginePeer) -> None:
    before = read(tester)
    engine_peer.clock.milliseconds += 1234
    after = read(tester)
    assert (after[0] - before[0], after[1] - before[1]) == (1234, 1234)


def test_the_hosts_clock_does_not_go_back(tester: Tester, engine_peer: EnginePeer) -> None:
    engine_peer.clock.milliseconds += 5000
    before = read(tester)
    engine_peer.clock.milliseconds -= 3000
    assert read(tester) == before
    engine_peer.clock.milliseconds += 4000
    assert read(tester)[0] == before[0] + 1000


def test_time_begins_anew_and_clock_goes_on(tester: Tester, engine_peer: EnginePeer) -> None:
    engine_peer.clock.milliseconds += 5000
    clock = read(tester)[1]
    assert tester.run(CC.SHUTDOWN, params=SU.CLEAR.to_bytes(2)).rc == 0
    tester.reset()
    assert read(tester) == (0, clock, 1)


def test_no_clock_that_was_told_as_safe_is_told_again(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    """Disorderly ends let Clock go back by an interval at most, and say that they did."""
    highest = 0
    for step in (1000, INTERVAL, 1000, INTERVAL - 3000, 2000, INTERVAL // 2):
        engine_peer.clock.milliseconds += step
        _, clock, safe = read(tester)
        assert not safe or clock > highest
        highest = max(highest, clock)
        tester.reset()
        _, clock, safe = read(tester)
        assert highest - clock <= INTERVAL
        assert not safe


def test_clock_is_stored_at_its_interval(tester: Tester, engine_peer: EnginePeer) -> None:
    stored = engine_peer.stored
    engine_peer.clock.milliseconds += INTERVAL - read(tester)[1] % INTERVAL - 1
    read(tester)
    assert engine_peer.stored == stored
    engine_peer.clock.milliseconds += 1
    read(tester)
    assert engine_peer.stored != stored


def test_clock_stands_still_while_it_cannot_be_stored(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    time, clock, _ = read(tester)
    engine_peer.engine.nv_available = False
    engine_peer.clock.milliseconds += 10 * INTERVAL
    assert read(tester) == (time, clock, 0)
    engine_peer.engine.nv_available = True
    assert read(tester) == (time + 10 * INTERVAL, clock + 10 * INTERVAL, 1)


def test_setting_the_clock(both: Both) -> None:
    assert agreed(both, set_clock, 1 << 28).rc == 0
    # swtpm's Clock runs: what has just been set is already in the past.
    for number, auth in enumerate((RH.OWNER, RH.PLATFORM, RH.LOCKOUT)):
        for value in (0, (1 << 30) + (number << 20), 1 << 29, 0xFFFF000000000001, 2**64 - 1):
            agreed(both, set_clock, value, auth)
    assert set_clock(both[0], 0).rc == parameter_error(RC.VALUE, 1)
    assert agreed(both, set_clock, 0xFFFF000000000000).rc == 0
    for tester in both:
        assert read(tester)[1] >= 0xFFFF000000000000


def test_setting_the_clock_does_not_change_time(tester: Tester) -> None:
    time = read(tester)[0]
    assert set_clock(tester, 1 << 40).rc == 0
    assert read(tester) == (time, 1 << 40, 1)
    tester.reset()
    assert read(tester)[1] == 1 << 40


def test_the_rate(both: Both) -> None:
    for steps, auth in itertools.product(range(-5, 6), (RH.OWNER, RH.PLATFORM, RH.ENDORSEMENT)):
        agreed(both, adjust, steps, auth)


@pytest.mark.parametrize(("step", "ppm"), [(1, 10), (2, 1000), (3, 10_000)])
def test_faster_and_slower(tester: Tester, engine_peer: EnginePeer, step: int, ppm: int) -> None:
    """By the steps that Part 2, 6.7 recommends; the rate outlives a migration and a reset."""

    def elapsed() -> int:
        before = read(tester)
        engine_peer.clock.milliseconds += 1_000_000
        after = read(tester)
        assert after[0] - before[0] == after[1] - before[1]
        return after[0] - before[0]

    assert elapsed() == 1_000_000
    for number in (1, 2, 3):
        assert adjust(tester, step).rc == 0
        assert elapsed() == 1_000_000 + number * ppm
    for number in (2, 1, 0, -1):
        assert adjust(tester, -step).rc == 0
        assert elapsed() == 1_000_000 + number * ppm
    engine_peer.carry_over()
    assert elapsed() == 1_000_000 - ppm
    assert tester.run(CC.SHUTDOWN, params=SU.CLEAR.to_bytes(2)).rc == 0
    tester.reset()
    assert elapsed() == 1_000_000 - ppm


@pytest.mark.parametrize(("steps", "limit"), [(3, 1_150_000), (-3, 850_000)])
def test_the_rate_has_limits(
    tester: Tester, engine_peer: EnginePeer, steps: int, limit: int
) -> None:
    for _ in range(20):
        assert adjust(tester, steps).rc == 0
    before = read(tester)[0]
    engine_peer.clock.milliseconds += 1_000_000
    assert read(tester)[0] - before == limit


@pytest.mark.parametrize("steps", [-3, -2, 2, 3])
def test_a_rate_does_not_depend_on_how_often_one_looks(
    tester: Tester, engine_peer: EnginePeer, steps: int
) -> None:
    assert adjust(tester, steps).rc == 0
    time, clock, _ = read(tester)
    for _ in range(200):
        engine_peer.clock.milliseconds += 5  # too short for a whole millisecond of the adjustment
        read(tester)
    passed = 1000 + {3: 10, 2: 1}[abs(steps)] * (1 if steps > 0 else -1)
    assert read(tester)[:2] == (time + passed, clock + passed)
