"""Part 3, chapter 25: Dictionary Attack Functions."""

from typing import Annotated

from ..command import Auth, ReadOnly, command
from ..core import dictionary_attack
from ..state import Hierarchy, Tpm
from ..wire.constants import CC
from ..wire.interface import TPMI_RH_LOCKOUT, UINT32


@command(CC.DICTIONARY_ATTACK_LOCK_RESET, nv=True)
def dictionary_attack_lock_reset(
    tpm: Tpm, lock_handle: Annotated[Hierarchy, TPMI_RH_LOCKOUT, Auth.USER], /
) -> None:
    """Reset the count of failed tries (25.2)."""
    tpm.begin_nv_update()
    dictionary_attack.reset(tpm)


@command(CC.DICTIONARY_ATTACK_PARAMETERS, nv=True, read_only=ReadOnly.REFUSED)
def dictionary_attack_parameters(
    tpm: Tpm,
    lock_handle: Annotated[Hierarchy, TPMI_RH_LOCKOUT, Auth.USER],
    /,
    new_max_tries: UINT32,
    new_recovery_time: UINT32,
    lockout_recovery: UINT32,
) -> None:
    """Set the number of allowed tries and the recovery times in seconds (25.3)."""
    tpm.begin_nv_update()
    attack = tpm.permanent.dictionary_attack
    attack.max_tries = new_max_tries
    attack.recovery_time = new_recovery_time
    attack.lockout_recovery = lockout_recovery
