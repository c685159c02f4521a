"""Read-Only mode: which commands the TPM refuses in it (Part 3, table 207)."""

from collections.abc import Sequence

from ..rc import RC, TpmError
from ..state import Entity, NvIndex, Session, Tpm
from ..wire.attributes import TPMA_NV
from ..wire.constants import CC
from .nv_pin import is_pin

_REFUSED = frozenset(
    {
        CC.CREATE,
        CC.OBJECT_CHANGE_AUTH,
        CC.CREATE_LOADED,
        CC.SET_COMMAND_CODE_AUDIT_STATUS,
        CC.PCR_ALLOCATE,
        CC.PCR_SET_AUTH_POLICY,
        CC.PCR_SET_AUTH_VALUE,
        CC.CREATE_PRIMARY,
        CC.HIERARCHY_CONTROL,
        CC.SET_PRIMARY_POLICY,
        CC.CHANGE_PPS,
        CC.CHANGE_EPS,
        CC.CLEAR,
        CC.CLEAR_CONTROL,
        CC.HIERARCHY_CHANGE_AUTH,
        CC.DICTIONARY_ATTACK_PARAMETERS,
        CC.PP_COMMANDS,
        CC.SET_ALGORITHM_SET,
        CC.EVICT_CONTROL,
        CC.CLOCK_SET,
        CC.CLOCK_RATE_ADJUST,
        CC.SET_CAPABILITY,
        CC.NV_DEFINE_SPACE,
        CC.NV_DEFINE_SPACE2,
        CC.NV_UNDEFINE_SPACE,
        CC.NV_UNDEFINE_SPACE_SPECIAL,
        CC.NV_INCREMENT,
        CC.NV_GLOBAL_WRITE_LOCK,
        CC.NV_CHANGE_AUTH,
    }
)
_VOLATILE_INDICES_ONLY = frozenset(
    {CC.NV_WRITE, CC.NV_EXTEND, CC.NV_SET_BITS, CC.NV_WRITE_LOCK, CC.NV_READ_LOCK}
)
_VOLATILE_INDEX = TPMA_NV.ORDERLY | TPMA_NV.CLEAR_STCLEAR


def check(tpm: Tpm, code: int, entities: Sequence[Entity | Session]) -> None:
    """Raise RC.READ_ONLY if the TPM is in Read-Only mode and the command would change it."""
    if not tpm.clear.read_only:
        return
    if code in _REFUSED:
        raise TpmError(RC.READ_ONLY)
    indices = [entity for entity in entities if isinstance(entity, NvIndex)]
    if code in _VOLATILE_INDICES_ONLY:
        for index in indices:
            if index.public.attributes & _VOLATILE_INDEX != _VOLATILE_INDEX:
                raise TpmError(RC.READ_ONLY)
    if code == CC.POLICY_SECRET and any(is_pin(index) for index in indices):
        raise TpmError(RC.READ_ONLY)
