"""NV indices: access, contents, locks, deletion, start-up (Part 1, 34.2; Part 3, clause 31)."""

from ..rc import RC, TpmError
from ..state import Entity, NvIndex, Tpm
from ..wire.attributes import TPMA_NV
from ..wire.constants import CC, NT, RH
from ..wire.nv import TPMS_NV_PUBLIC

MAX_ORDERLY_COUNT = 0xFF
"""An orderly counter is made durable whenever these bits of it become zero."""
MAX_COUNTER = 0xFFFFFFFF_FFFFFFFF

UPDATED_BY: dict[int, int] = {
    NT.ORDINARY: CC.NV_WRITE,
    NT.COUNTER: CC.NV_INCREMENT,
    NT.BITS: CC.NV_SET_BITS,
    NT.EXTEND: CC.NV_EXTEND,
    NT.PIN_FAIL: CC.NV_WRITE,
    NT.PIN_PASS: CC.NV_WRITE,
}
"""Every type of index there is, and the command that updates it (Part 1, 34.2.6.1)."""
_READ_BY: dict[int, int] = {RH.OWNER: TPMA_NV.OWNERREAD, RH.PLATFORM: TPMA_NV.PPREAD}
_WRITE_BY: dict[int, int] = {RH.OWNER: TPMA_NV.OWNERWRITE, RH.PLATFORM: TPMA_NV.PPWRITE}


def require_read_authority(authority: Entity, index: NvIndex) -> None:
    """Raise RC.NV_AUTHORIZATION unless the authorized entity may read an index."""
    _require_authority(authority, index, _READ_BY)


def require_write_authority(authority: Entity, index: NvIndex) -> None:
    """Raise RC.NV_AUTHORIZATION unless the authorized entity may write an index."""
    _require_authority(authority, index, _WRITE_BY)


def _require_authority(authority: Entity, index: NvIndex, table: dict[int, int]) -> None:
    attribute = table.get(authority.handle)
    if attribute is None:
        # The attributes were checked when the index was authorized.
        allowed = authority.handle == index.handle
    else:
        allowed = index.has(attribute)
    if not allowed:
        raise TpmError(RC.NV_AUTHORIZATION)


def check_read(authority: Entity, index: NvIndex) -> None:
    """Check what every read requires. RC.NV_LOCKED, RC.NV_AUTHORIZATION, RC.NV_UNINITIALIZED."""
    attributes = index.public.attributes
    if attributes & TPMA_NV.READLOCKED:
        raise TpmError(RC.NV_LOCKED)
    require_read_authority(authority, index)
    if not attributes & TPMA_NV.WRITTEN:
        raise TpmError(RC.NV_UNINITIALIZED)


def check_write(authority: Entity, index: NvIndex) -> None:
    """Check what every write requires. RC.NV_LOCKED, RC.NV_AUTHORIZATION."""
    if index.has(TPMA_NV.WRITELOCKED):
        raise TpmError(RC.NV_LOCKED)
    require_write_authority(authority, index)


def read_range(index: NvIndex, size: int, offset: int) -> bytes:
    """`size` octets of the contents from `offset` on. RC.NV_RANGE."""
    if size + offset > index.public.data_size:
        raise TpmError(RC.NV_RANGE)
    return index.data[offset : offset + size]


def contents(index: NvIndex) -> bytes:
    """The contents to modify. Before the first write: zeros, or all ones of an ordinary index.

    Of that the specification permits either (Part 1, 34.2.6.2); libtpms has ones unless the index
    is an orderly one.
    """
    if index.has(TPMA_NV.WRITTEN):
        return index.data
    ordinary = index.nt == NT.ORDINARY and not index.has(TPMA_NV.ORDERLY)
    unwritten = b"\xff" if ordinary else b"\0"
    return unwritten * index.public.data_size


def next_count(tpm: Tpm, index: NvIndex) -> int:
    """The next value of a counter, which never repeats a value of a deleted counter."""
    current = (
        int.from_bytes(index.data) if index.has(TPMA_NV.WRITTEN) else tpm.permanent.nv_max_counter
    )
    return (current + 1) & MAX_COUNTER


def store(tpm: Tpm, index: NvIndex, data: bytes) -> None:
    """Replace the contents and SET TPMA_NV_WRITTEN.

    An orderly index changes in RAM only, except for a counter that is written for the first time
    or whose low-order bits roll over (Part 1, 34.2.6.3). RC.NV_UNAVAILABLE.
    """
    first = not index.has(TPMA_NV.WRITTEN)
    if not first and data == index.data:
        return
    if not index.has(TPMA_NV.ORDERLY) or (
        index.nt == NT.COUNTER and (first or _has_rolled_over(data))
    ):
        tpm.begin_nv_update()
    index.public.attributes |= TPMA_NV.WRITTEN
    index.data = data


def _has_rolled_over(count: bytes) -> bool:
    return not int.from_bytes(count) & MAX_ORDERLY_COUNT


def lock(tpm: Tpm, indices: list[NvIndex], attribute: int) -> None:
    """SET TPMA_NV_READLOCKED or TPMA_NV_WRITELOCKED of these indices. RC.NV_UNAVAILABLE."""
    changed = [index for index in indices if not index.has(attribute)]
    if not changed:
        return
    tpm.begin_nv_update()
    for index in changed:
        index.public.attributes |= attribute


def define(tpm: Tpm, public: TPMS_NV_PUBLIC, auth_value: bytes) -> None:
    """Add an index that has been checked. RC.NV_UNAVAILABLE."""
    tpm.begin_nv_update()
    tpm.permanent.nv[public.nv_index] = NvIndex(public, auth_value, bytes(public.data_size))


def undefine(tpm: Tpm, index: NvIndex) -> None:
    """Delete an index and wipe its contents. RC.NV_UNAVAILABLE."""
    tpm.begin_nv_update()
    if index.nt == NT.COUNTER and index.has(TPMA_NV.WRITTEN):
        count = int.from_bytes(index.data)
        tpm.permanent.nv_max_counter = max(tpm.permanent.nv_max_counter, count)
    del tpm.permanent.nv[index.handle]
    index.auth_value = b""
    index.data = b""


def undefine_owner_indices(tpm: Tpm) -> None:
    """Delete what was defined with owner authorization (TPM2_Clear). RC.NV_UNAVAILABLE."""
    for index in list(tpm.permanent.nv.values()):
        if not index.has(TPMA_NV.PLATFORMCREATE):
            undefine(tpm, index)


def at_startup(tpm: Tpm, *, orderly: bool, resume: bool, reset: bool) -> None:
    """Reset locks, contents and counters at TPM Reset and TPM Restart (Part 1, 34.2.4 and 34.2.6).

    `orderly` says whether a TPM2_Shutdown preceded, `reset` whether it was not one of type
    TPM_SU_STATE. The caller has announced the NV update.
    """
    if resume:
        return
    for index in tpm.permanent.nv.values():
        cleared = TPMA_NV.READLOCKED
        if index.nt == NT.COUNTER:
            if index.has(TPMA_NV.ORDERLY) and not orderly:
                count = int.from_bytes(index.data) | MAX_ORDERLY_COUNT
                index.data = count.to_bytes(len(index.data))
        elif index.has(TPMA_NV.CLEAR_STCLEAR) or (reset and index.has(TPMA_NV.ORDERLY)):
            cleared |= TPMA_NV.WRITTEN
        kept = index.public.attributes & ~cleared
        if not (kept & TPMA_NV.WRITTEN and kept & TPMA_NV.WRITEDEFINE):
            kept &= ~TPMA_NV.WRITELOCKED
        index.public.attributes = kept
