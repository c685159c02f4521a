"""Read-Only mode: which commands the TPM refuses in it (Part 3, table 207)."""

from collections.abc import Sequence

from ..rc import RC, TpmError
from ..state import Entity, NvIndex, Session
from ..wire.attributes import TPMA_NV
from .command_spec import CommandSpec, ReadOnly
from .nv_pin import is_pin

_VOLATILE_INDEX = TPMA_NV.ORDERLY | TPMA_NV.CLEAR_STCLEAR


def check(spec: CommandSpec, entities: Sequence[Entity | Session]) -> None:
    """In Read-Only mode, raise RC.READ_ONLY if the command would change the TPM."""
    if _is_refused(spec.read_only, entities):
        raise TpmError(RC.READ_ONLY)


def _is_refused(treatment: ReadOnly, entities: Sequence[Entity | Session]) -> bool:
    indices = [entity for entity in entities if isinstance(entity, NvIndex)]
    match treatment:
        case ReadOnly.ALLOWED:
            return False
        case ReadOnly.REFUSED:
            return True
        case ReadOnly.VOLATILE_INDICES:
            return not all(map(_is_volatile, indices))
        case ReadOnly.NO_PIN_INDEX:
            return any(map(is_pin, indices))


def _is_volatile(index: NvIndex) -> bool:
    return index.public.attributes & _VOLATILE_INDEX == _VOLATILE_INDEX
