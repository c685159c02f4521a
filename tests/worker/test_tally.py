"""What a worker counts: every command once, under the class and the bound that it belongs to."""

import pytest

from vtpmd.ipc.tally import LATENCY_BOUNDS, RESPONSE_CLASSES, class_of
from vtpmd.tpm.engine import RC, refusal
from vtpmd.worker.tally import Tally


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (RC.SUCCESS, "success"),
        (RC.FAILURE, "failure"),
        (RC.LOCKOUT, "lockout"),
        (0x98E, "authorization"),  # TPM_RC_AUTH_FAIL of session 1
        (0x9A2, "authorization"),  # TPM_RC_BAD_AUTH of session 1
        (RC.NV_AUTHORIZATION, "authorization"),
        (RC.SESSION_HANDLES, "resources"),
        (RC.NV_UNAVAILABLE, "unavailable"),
        (RC.COMMAND_CODE, "other"),
        (0x1D5, "other"),  # TPM_RC_SIZE of parameter 1
        (0xFFFFFFFF, "other"),
    ],
)
def test_classes(code: int, name: str) -> None:
    assert class_of(code) == name
    assert name in RESPONSE_CLASSES
    tally = Tally()
    tally.add(refusal(code), 0)
    assert {key: count for key, count in tally.responses.items() if count} == {name: 1}


def test_latencies_are_counted_up_to_and_with_their_bound() -> None:
    tally = Tally()
    first, last = LATENCY_BOUNDS[0], LATENCY_BOUNDS[-1]
    for microseconds in (0, first, first + 1, last, last + 1):
        tally.add(refusal(0), microseconds * 1000)
    assert tally.latencies == [2, 1, *[0] * (len(LATENCY_BOUNDS) - 3), 1, 1]
    assert tally.nanoseconds == 1000 * (2 * first + 1 + 2 * last + 1)
