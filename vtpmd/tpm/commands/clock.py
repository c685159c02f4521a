"""Part 3, chapter 29: Clocks and Timers."""

from typing import Annotated

from ..command import Auth, ReadOnly, command
from ..core.clock import NOMINAL_RATE, time_info
from ..rc import RC, TpmError
from ..state import Hierarchy, Tpm
from ..wire.attest import TPMS_TIME_INFO
from ..wire.constants import CC
from ..wire.interface import TPM_CLOCK_ADJUST, TPMI_RH_PROVISION, UINT64
from ..wire.structure import Structure

MAX_CLOCK = 0xFFFF000000000000
_STEPS = {3: NOMINAL_RATE // 100, 2: NOMINAL_RATE // 1000, 1: 1, 0: 0}
"""Coarse, medium and fine, as Part 2, 6.7 recommends."""
_MAX_ADJUSTMENT = NOMINAL_RATE * 15 // 100


class ReadClockResponse(Structure):
    current_time: TPMS_TIME_INFO


@command(CC.READ_CLOCK)
def read_clock(tpm: Tpm, /) -> ReadClockResponse:
    """Return Time, Clock and the reset counters (29.1)."""
    return ReadClockResponse(time_info(tpm))


@command(CC.CLOCK_SET, nv=True, read_only=ReadOnly.REFUSED)
def clock_set(
    tpm: Tpm,
    auth: Annotated[Hierarchy, TPMI_RH_PROVISION, Auth.USER],
    /,
    new_time: UINT64,
) -> None:
    """Advance Clock (29.2)."""
    if new_time > MAX_CLOCK or new_time < tpm.permanent.clock:
        raise TpmError(RC.VALUE, at="new_time")
    tpm.begin_nv_update()
    tpm.permanent.clock = new_time
    tpm.permanent.clock_safe = True


@command(CC.CLOCK_RATE_ADJUST, read_only=ReadOnly.REFUSED)
def clock_rate_adjust(
    tpm: Tpm,
    auth: Annotated[Hierarchy, TPMI_RH_PROVISION, Auth.USER],
    /,
    rate_adjust: TPM_CLOCK_ADJUST,
) -> None:
    """Make Clock and Time run faster or slower, by at most 15 % (29.3).

    At its limits the rate stays as it is, as in the reference implementation, where 29.3 requires
    RC.VALUE. The rate is stored when Clock is, not by this command.
    """
    step = _STEPS[abs(rate_adjust)]
    adjustment = tpm.permanent.clock_adjustment + (step if rate_adjust > 0 else -step)
    tpm.permanent.clock_adjustment = max(-_MAX_ADJUSTMENT, min(_MAX_ADJUSTMENT, adjustment))
