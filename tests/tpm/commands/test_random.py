"""Part 3, chapter 16: random octets."""

import pytest

from tests.tpm.agreement import agreed, parameter_error
from tests.tpm.harness import EnginePeer, Tester, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import CC

Both = tuple[Tester, Tester]


@pytest.mark.parametrize("count", [0, 1, 16, 32, 63, 64, 65, 0x1000, 0xFFFF])
def test_as_many_as_a_digest_has(both: Both, count: int) -> None:
    for tester in both:
        octets = tester.run(CC.GET_RANDOM, params=count.to_bytes(2)).sized()
        assert len(octets) == min(count, 64)


def test_never_the_same(tester: Tester) -> None:
    seen = {tester.run(CC.GET_RANDOM, params=b"\0\x20").sized() for _ in range(100)}
    assert len(seen) == 100


def test_stirring(both: Both) -> None:
    for size in (0, 1, 127, 128, 129, 1000):
        agreed(both, Tester.run, CC.STIR_RANDOM, [], sized(bytes(size)))
    answer = agreed(both, Tester.run, CC.STIR_RANDOM, [], sized(bytes(129)))
    assert answer.rc == parameter_error(RC.SIZE, 1)


def test_what_is_stirred_in_counts() -> None:
    """With an entropy source that repeats itself, only the guest's differs; and never is weaker."""
    drawn = []
    for stirred in (None, b"a", b"a", b"b"):
        peer = EnginePeer.manufactured(
            entropy=lambda size: bytes(range(256)) * 4 if size > 255 else bytes(range(size))
        )
        tester = Tester(peer)
        assert tester.startup() == 0
        if stirred is not None:
            assert tester.run(CC.STIR_RANDOM, params=sized(stirred)).rc == 0
        draw = [tester.run(CC.GET_RANDOM, params=b"\0\x40").sized() for _ in range(2)]
        drawn.append(draw)
    assert drawn[0][0] == drawn[0][1] == bytes(range(64))
    assert drawn[1] == drawn[2]
    assert len({*drawn[1], *drawn[3], *drawn[0]}) == 5


def test_too_short_and_too_long(both: Both) -> None:
    for params in (b"", b"\0", b"\0\0\0"):
        agreed(both, Tester.run, CC.GET_RANDOM, [], params)
        agreed(both, Tester.run, CC.STIR_RANDOM, [], params)
