"""Part 3, chapter 21: Command Audit."""

from typing import Annotated

from ..command import Auth, ReadOnly, command, find
from ..core import audit
from ..rc import RC, TpmError
from ..state import Hierarchy, Tpm
from ..wire.base import TPML_CC
from ..wire.constants import ALG, CC
from ..wire.interface import TPMI_ALG_HASH_NULL, TPMI_RH_PROVISION


@command(CC.SET_COMMAND_CODE_AUDIT_STATUS, nv=True, read_only=ReadOnly.REFUSED)
def set_command_code_audit_status(
    tpm: Tpm,
    auth: Annotated[Hierarchy, TPMI_RH_PROVISION, Auth.USER],
    /,
    audit_alg: TPMI_ALG_HASH_NULL,
    set_list: TPML_CC,
    clear_list: TPML_CC,
) -> None:
    """Change the hash of command audit, or which commands are audited (21.2)."""
    if audit_alg not in (ALG.NULL, tpm.permanent.audit_hash):
        if set_list or clear_list:
            raise TpmError(RC.VALUE, at="audit_alg")
        audit.change_hash(tpm, audit_alg)
    else:
        added = [code for code in set_list if _can_be_audited(tpm, code)]
        audit.change_commands(tpm, added, clear_list)


def _can_be_audited(tpm: Tpm, code: int) -> bool:
    return find(code, tpm.profile) is not None and code != CC.SHUTDOWN
