"""From handles to the entities they refer to (Part 3, 5.4)."""

from collections.abc import Callable

from ..rc import RC, TpmError
from ..state import Entity, Hierarchy, LoadedObject, NvIndex, Session, Tpm
from ..wire.attributes import TPMA_NV
from ..wire.constants import CC, HT, RH
from . import countdown, pcrs, sessions

FIRST_PLATFORM_PERSISTENT = 0x81800000
"""Persistent handles from here on belong to the platform, those below to the owner (28.5)."""
# Looking up a member of an Enum takes 0.1 µs in Python 3.11: most commands need these.
_OWNER, _ENDORSEMENT, _PLATFORM = int(RH.OWNER), int(RH.ENDORSEMENT), int(RH.PLATFORM)
_LOCKOUT, _NULL = int(RH.LOCKOUT), int(RH.NULL)
_FIRST_ACT, _LAST_ACT = int(RH.ACT_0), int(RH.ACT_F)


def hierarchy(tpm: Tpm, handle: int) -> Hierarchy:
    """The hierarchy or lockout of a TPM_RH_*, enabled or not; TpmError(RC.VALUE) for others."""
    if handle == _OWNER:
        return tpm.permanent.owner
    if handle == _NULL:
        return tpm.reset.null
    if handle == _ENDORSEMENT:
        return tpm.permanent.endorsement
    if handle == _PLATFORM:
        return tpm.permanent.platform
    if handle == _LOCKOUT:
        return tpm.permanent.lockout
    raise TpmError(RC.VALUE)


def is_enabled(tpm: Tpm, handle: int) -> bool:
    """Whether a hierarchy is enabled; NULL and lockout always are."""
    if handle == _OWNER:
        return tpm.clear.owner_enabled
    if handle == _ENDORSEMENT:
        return tpm.clear.endorsement_enabled
    if handle == _PLATFORM:
        return tpm.volatile.platform_enabled
    return True


def resolve(tpm: Tpm, handle: int, number: int, code: int) -> Entity | Session:
    """The entity of the `number`-th handle (from 1) of the command `code`.

    Raises, as Part 3, 5.4 says, RC.REFERENCE_H0 + N for what could be loaded but is not; RC.HANDLE,
    RC.HIERARCHY and RC.VALUE without a position. As in libtpms, the commands check the locks of an
    index, so that nobody learns of them without authorization for the index.
    """
    find = _BY_TYPE.get(handle >> 24)
    if find is None:
        raise TpmError(RC.VALUE)
    found = find(tpm, handle, code)
    if found is None:
        raise TpmError(RC.REFERENCE_H0 + number - 1)
    return found


def _pcr(tpm: Tpm, handle: int, code: int) -> Entity:
    return pcrs.entity(tpm, handle)


def _nv_index(tpm: Tpm, handle: int, code: int) -> Entity:
    index = tpm.permanent.nv.get(handle)
    if index is None or not nv_index_enabled(tpm, index):
        raise TpmError(RC.HANDLE)
    return index


def _session(tpm: Tpm, handle: int, code: int) -> Session | None:
    session = sessions.find(tpm, handle)
    if session is not None and session.handle != handle:
        raise TpmError(RC.HANDLE)
    return session


def _permanent(tpm: Tpm, handle: int, code: int) -> Entity:
    if _FIRST_ACT <= handle <= _LAST_ACT:
        return countdown.entity(tpm, handle)
    found = hierarchy(tpm, handle)
    if not is_enabled(tpm, handle):
        raise TpmError(RC.HIERARCHY)
    return found


def _transient(tpm: Tpm, handle: int, code: int) -> Entity | None:
    return tpm.volatile.objects.get(handle)


def _persistent(tpm: Tpm, handle: int, code: int) -> Entity:
    """A persistent object; its hierarchy and the owner or platform that holds it must be enabled.

    As in libtpms, TPM2_EvictControl does not need its hierarchy to be enabled.
    """
    found = tpm.permanent.objects.get(handle)
    keeper = _PLATFORM if handle >= FIRST_PLATFORM_PERSISTENT else _OWNER
    if found is None or not is_enabled(tpm, keeper):
        raise TpmError(RC.HANDLE)
    if code != CC.EVICT_CONTROL and not is_enabled(tpm, found.hierarchy):
        raise TpmError(RC.HANDLE)
    return found


_BY_TYPE: dict[int, Callable[[Tpm, int, int], Entity | Session | None]] = {
    HT.PCR: _pcr,
    HT.NV_INDEX: _nv_index,
    HT.HMAC_SESSION: _session,
    HT.POLICY_SESSION: _session,
    HT.PERMANENT: _permanent,
    HT.TRANSIENT: _transient,
    HT.PERSISTENT: _persistent,
}
"""None stands for an object or session that is not loaded."""


def hierarchy_of(entity: Entity) -> int:
    """The TPM_RH_* of the hierarchy whose proof vouches for what an entity has authorized."""
    match entity:
        case Hierarchy(handle=RH.PLATFORM | RH.ENDORSEMENT | RH.NULL):
            return entity.handle
        case LoadedObject():
            return entity.hierarchy
        case NvIndex() if entity.has(TPMA_NV.PLATFORMCREATE):
            return RH.PLATFORM
        case _:
            return RH.OWNER


def nv_index_enabled(tpm: Tpm, index: NvIndex) -> bool:
    """Whether the hierarchy that an index belongs to lets it be used (Part 3, 5.4)."""
    if index.public.attributes & TPMA_NV.PLATFORMCREATE:
        return tpm.clear.platform_nv_enabled
    return tpm.clear.owner_enabled
