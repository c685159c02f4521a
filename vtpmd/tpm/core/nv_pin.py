"""PIN Pass and PIN Fail indices: authValues that count their use (Part 1, 34.2.6.6 and 34.2.8)."""

from typing import TypeGuard

from ..rc import RC, TpmError
from ..state import Entity, NvIndex, Tpm
from ..wire.attributes import TPMA_NV
from ..wire.constants import NT
from . import nv


def is_pin(entity: Entity) -> TypeGuard[NvIndex]:
    """Whether an entity is a PIN Pass or PIN Fail index."""
    return isinstance(entity, NvIndex) and entity.nt in (NT.PIN_PASS, NT.PIN_FAIL)


def is_pin_pass(entity: Entity) -> bool:
    """Whether an entity is a PIN Pass index."""
    return isinstance(entity, NvIndex) and entity.nt == NT.PIN_PASS


def begin_use(tpm: Tpm, entity: NvIndex) -> None:
    """Check that the authValue may be tried, before it is.

    Raises RC.AUTH_UNAVAILABLE unless the index is written and pinCount is below pinLimit, and
    RC.NV_UNAVAILABLE if a try can't be counted, because it would then be free.
    """
    if not is_pin(entity):
        return
    if not entity.has(TPMA_NV.WRITTEN) or _count(entity) >= int.from_bytes(entity.data[4:]):
        raise TpmError(RC.AUTH_UNAVAILABLE)
    tpm.begin_nv_update()


def end_use(tpm: Tpm, entity: NvIndex, *, proven: bool) -> None:
    """Count a try: PIN Pass counts successes, PIN Fail consecutive failures."""
    if not is_pin(entity):
        return
    if entity.nt == NT.PIN_PASS:
        count = _count(entity) + proven
    else:
        count = 0 if proven else _count(entity) + 1
    nv.store(tpm, entity, count.to_bytes(4) + entity.data[4:])


def _count(index: NvIndex) -> int:
    return int.from_bytes(index.data[:4])
