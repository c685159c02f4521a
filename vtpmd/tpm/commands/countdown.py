"""Part 3, chapter 33: Authenticated Countdown Timer."""

from typing import Annotated

from ..command import Auth, command
from ..core import countdown
from ..state import CountdownTimer, Tpm
from ..wire.constants import CC
from ..wire.interface import TPMI_RH_ACT, UINT32


@command(CC.ACT_SET_TIMEOUT)
def act_set_timeout(
    tpm: Tpm,
    act_handle: Annotated[CountdownTimer, TPMI_RH_ACT, Auth.USER],
    /,
    start_timeout: UINT32,
) -> None:
    """Set the seconds remaining on a timer (33.2)."""
    countdown.set_timeout(tpm, act_handle.handle, start_timeout)
