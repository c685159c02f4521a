"""Authenticated countdown timers (Part 1, clause 40).

A timer is stored as the Time at which it ends. The platform decides what happens then; here the end
is only reported.
"""

from ..state import Countdown, CountdownTimer, Tpm
from ..wire.attributes import TPMA_ACT
from ..wire.capabilities import TPMS_ACT_DATA
from ..wire.constants import RH

HANDLES = range(RH.ACT_0, RH.ACT_F + 1)
STOP = 0xFFFFFFFF
"""startTimeout that clears `signaled` of a timer that has ended."""


def entity(tpm: Tpm, handle: int) -> CountdownTimer:
    """A timer as an entity: it is authorized by platformAuth or its own policy."""
    countdown = _find(tpm, handle)
    return CountdownTimer(
        handle,
        tpm.permanent.platform.auth_value,
        countdown.policy_alg,
        countdown.auth_policy,
        auth_value_available=tpm.volatile.platform_enabled,
    )


def set_policy(tpm: Tpm, handle: int, policy_alg: int, auth_policy: bytes) -> None:
    """Give a timer a policy of its own."""
    countdown = _find(tpm, handle)
    countdown.policy_alg, countdown.auth_policy = policy_alg, auth_policy
    tpm.clear.countdowns[handle] = countdown


def set_timeout(tpm: Tpm, handle: int, seconds: int) -> None:
    """Start, change, end or stop a timer (Part 3, 33.2)."""
    countdown = _find(tpm, handle)
    running = remaining(tpm, countdown) > 0
    if seconds == STOP and not running and countdown.signaled:
        countdown.signaled, countdown.ends = False, 0
    elif seconds:
        countdown.signaled, countdown.ends = False, tpm.volatile.time + seconds * 1000
    elif running:
        countdown.signaled, countdown.ends = True, 0
    countdown.preserve_signaled = False
    countdown.set_since_startup = True
    tpm.clear.countdowns[handle] = countdown


def remaining(tpm: Tpm, countdown: Countdown) -> int:
    """Seconds remaining on a timer; 0 after its end, or if it was never set."""
    left = countdown.ends - tpm.volatile.time
    return -(-left // 1000) if countdown.ends and left > 0 else 0


def next_end(tpm: Tpm) -> int | None:
    """Milliseconds until the first of the timers ends; None while none runs."""
    running = (each.ends for each in tpm.clear.countdowns.values() if each.ends)
    first = min(running, default=None)
    return None if first is None else max(0, first - tpm.volatile.time)


def tick(tpm: Tpm) -> None:
    """Signal the timers that have ended."""
    for countdown in tpm.clear.countdowns.values():
        if countdown.ends and countdown.ends <= tpm.volatile.time:
            countdown.signaled, countdown.ends = True, 0


def data(tpm: Tpm) -> list[TPMS_ACT_DATA]:
    """What GetCapability reports for every timer."""
    found = []
    for handle in HANDLES:
        countdown = _find(tpm, handle)
        attributes = (TPMA_ACT.SIGNALED if countdown.signaled else 0) | (
            TPMA_ACT.PRESERVE_SIGNALED if countdown.preserve_signaled else 0
        )
        found.append(TPMS_ACT_DATA(handle, remaining(tpm, countdown), attributes))
    return found


def save(tpm: Tpm) -> None:
    """Keep the timers over TPM2_Shutdown(STATE).

    A timer not set since the last start keeps half its time, so that repeated shutdowns can't
    postpone its end forever.
    """
    for countdown in tpm.clear.countdowns.values():
        left = remaining(tpm, countdown)
        countdown.saved = left if countdown.set_since_startup else left // 2


def resume(tpm: Tpm) -> None:
    """Continue the saved timers after TPM2_Startup(STATE).

    That includes a timer that ended after the TPM2_Shutdown: the saved state counts.
    """
    for countdown in tpm.clear.countdowns.values():
        countdown.ends = tpm.volatile.time + countdown.saved * 1000 if countdown.saved else 0
        countdown.signaled = countdown.signaled and not countdown.saved
        countdown.preserve_signaled = countdown.signaled
        countdown.set_since_startup, countdown.saved = False, 0


def _find(tpm: Tpm, handle: int) -> Countdown:
    return tpm.clear.countdowns.get(handle) or Countdown()
