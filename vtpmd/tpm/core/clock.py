"""Time and Clock as attestations and commands report them (Part 1, clause 33)."""

from ..state import Tpm
from ..wire.attest import TPMS_CLOCK_INFO, TPMS_TIME_INFO

NOMINAL_RATE = 100_000
"""The rate of Clock in units of 10 ppm, to which its adjustment is added."""


def clock_info(tpm: Tpm) -> TPMS_CLOCK_INFO:
    """Clock and the counters that tell one period of it from another."""
    return TPMS_CLOCK_INFO(
        clock=tpm.permanent.clock,
        reset_count=tpm.permanent.reset_count,
        restart_count=tpm.reset.restart_count,
        safe=int(tpm.permanent.clock_safe and tpm.nv_available),
    )


def time_info(tpm: Tpm) -> TPMS_TIME_INFO:
    """Time, and `clock_info`."""
    return TPMS_TIME_INFO(time=tpm.volatile.time, clock_info=clock_info(tpm))
