"""Part 3, chapter 26: Miscellaneous Management Functions."""

from typing import Annotated

from ..command import Auth, ReadOnly, command
from ..rc import RC, TpmError
from ..state import Hierarchy, Tpm
from ..wire.base import TPML_CC
from ..wire.constants import CC
from ..wire.interface import TPMI_RH_PLATFORM, UINT32


@command(CC.PP_COMMANDS, nv=True, read_only=ReadOnly.REFUSED)
def pp_commands(
    tpm: Tpm,
    auth: Annotated[Hierarchy, TPMI_RH_PLATFORM, Auth.USER],
    /,
    set_list: TPML_CC,
    clear_list: TPML_CC,
) -> None:
    """Choose the commands that need physical presence (26.2).

    This command needs it too, and nobody can assert it on a virtual machine: authorization fails
    with RC.PP, so the list never changes.
    """
    raise TpmError(RC.PP)


@command(CC.SET_ALGORITHM_SET, nv=True, read_only=ReadOnly.REFUSED)
def set_algorithm_set(
    tpm: Tpm,
    auth_handle: Annotated[Hierarchy, TPMI_RH_PLATFORM, Auth.USER],
    /,
    algorithm_set: UINT32,
) -> None:
    """Record the platform's choice of an algorithm set (26.3).

    As in the reference implementation it only changes what is reported: the profile determines the
    algorithms.
    """
    tpm.begin_nv_update()
    tpm.permanent.algorithm_set = algorithm_set
