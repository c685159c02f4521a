"""Part 3, chapter 26: Miscellaneous Management Functions."""

from typing import Annotated

from ..command import Auth, command
from ..state import Hierarchy, Tpm
from ..wire.base import TPML_CC
from ..wire.constants import CC
from ..wire.interface import TPMI_RH_PLATFORM, UINT32

_GATEABLE = frozenset(
    {
        CC.NV_UNDEFINE_SPACE_SPECIAL,
        CC.EVICT_CONTROL,
        CC.HIERARCHY_CONTROL,
        CC.NV_UNDEFINE_SPACE,
        CC.CHANGE_EPS,
        CC.CHANGE_PPS,
        CC.CLEAR,
        CC.CLEAR_CONTROL,
        CC.CLOCK_SET,
        CC.HIERARCHY_CHANGE_AUTH,
        CC.NV_DEFINE_SPACE,
        CC.PCR_ALLOCATE,
        CC.PCR_SET_AUTH_POLICY,
        CC.SET_PRIMARY_POLICY,
        CC.CLOCK_RATE_ADJUST,
        CC.CREATE_PRIMARY,
        CC.NV_GLOBAL_WRITE_LOCK,
        CC.SET_ALGORITHM_SET,
        CC.SET_COMMAND_CODE_AUDIT_STATUS,
        CC.NV_DEFINE_SPACE2,
        CC.READ_ONLY_CONTROL,
    }
)
"""Commands that the platform, among others, may authorize."""


@command(CC.PP_COMMANDS, nv=True)
def pp_commands(
    tpm: Tpm,
    auth: Annotated[Hierarchy, TPMI_RH_PLATFORM, Auth.USER],
    /,
    set_list: TPML_CC,
    clear_list: TPML_CC,
) -> None:
    """Choose the commands that need physical presence (26.2).

    It is the only one that needs it at first, and nobody can assert it on a virtual machine.
    """
    required = {*tpm.permanent.pp_commands, *(_GATEABLE & {*set_list})} - (
        _GATEABLE & {*clear_list}
    )
    tpm.begin_nv_update()
    tpm.permanent.pp_commands = sorted(required)


@command(CC.SET_ALGORITHM_SET, nv=True)
def set_algorithm_set(
    tpm: Tpm,
    auth_handle: Annotated[Hierarchy, TPMI_RH_PLATFORM, Auth.USER],
    /,
    algorithm_set: UINT32,
) -> None:
    """Note the platform's choice of an algorithm set (26.3).

    As in the reference implementation it changes nothing but what is reported: the algorithms are
    those of the profile.
    """
    tpm.begin_nv_update()
    tpm.permanent.algorithm_set = algorithm_set
