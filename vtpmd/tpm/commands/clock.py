"""Part 3, chapter 29: Clocks and Timers."""

from typing import Annotated

from ..command import Auth, command
from ..core.clock import time_info
from ..rc import RC, TpmError
from ..state import Hierarchy, Tpm
from ..wire.attest import TPMS_TIME_INFO
from ..wire.constants import CC
from ..wire.interface import TPM_CLOCK_ADJUST, TPMI_RH_PROVISION, UINT64
from ..wire.structure import Structure

MAX_CLOCK = 0xFFFF000000000000
_SLOWEST, _FASTEST = -3, 3


class ReadClockResponse(Structure):
    current_time: TPMS_TIME_INFO


@command(CC.READ_CLOCK)
def read_clock(tpm: Tpm, /) -> ReadClockResponse:
    """Tell Time, Clock and the reset counters (29.1)."""
    return ReadClockResponse(time_info(tpm))


@command(CC.CLOCK_SET, nv=True)
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


@command(CC.CLOCK_RATE_ADJUST)
def clock_rate_adjust(
    tpm: Tpm,
    auth: Annotated[Hierarchy, TPMI_RH_PROVISION, Auth.USER],
    /,
    rate_adjust: TPM_CLOCK_ADJUST,
) -> None:
    """Let Clock and Time run faster or slower (29.3); each step changes the rate by 5 %.

    The rate stays within its limits, where 29.3 has RC.VALUE: as in the reference implementation.
    It is stored with Clock, and not for its own sake.
    """
    rate = tpm.permanent.clock_rate + rate_adjust
    tpm.permanent.clock_rate = max(_SLOWEST, min(_FASTEST, rate))
