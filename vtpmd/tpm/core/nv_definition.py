"""Which NV indices may be defined (Part 3, 31.3; the order of checks is libtpms').

TPMS_NV_PUBLIC itself limits the size of an index.
"""

from ..crypto.hashes import digest_size
from ..rc import RC, TpmError
from ..state import Hierarchy, Tpm
from ..wire.attributes import TPMA_NV
from ..wire.constants import CC, NT, RH
from ..wire.limits import MAX_NV_BUFFER_SIZE
from ..wire.nv import TPMS_NV_PUBLIC
from . import nv, nv_space

_STATE = TPMA_NV.WRITTEN | TPMA_NV.WRITELOCKED | TPMA_NV.READLOCKED
_READ = TPMA_NV.PPREAD | TPMA_NV.OWNERREAD | TPMA_NV.AUTHREAD | TPMA_NV.POLICYREAD
_WRITE = TPMA_NV.PPWRITE | TPMA_NV.OWNERWRITE | TPMA_NV.AUTHWRITE | TPMA_NV.POLICYWRITE
_NOT_WITH_PIN = TPMA_NV.AUTHWRITE | TPMA_NV.GLOBALLOCK | TPMA_NV.WRITEDEFINE
_FORBIDDEN: dict[int, int] = {
    NT.COUNTER: TPMA_NV.CLEAR_STCLEAR,
    NT.PIN_FAIL: _NOT_WITH_PIN,
    NT.PIN_PASS: _NOT_WITH_PIN,
}
"""The attributes that a type of index must not have."""
_NUMBER_SIZE = 8
"""Octets of a counter, a bit field, and a PIN index."""


def check(tpm: Tpm, creator: Hierarchy, public: TPMS_NV_PUBLIC, auth_value: bytes) -> None:
    """Check that `creator` may define this index now.

    `auth_value` comes without trailing zeros. Raises TpmError positioned at `auth_handle`,
    `auth` or `public_info`, RC.NV_DEFINED or RC.NV_SPACE.
    """
    attributes, by_platform = public.attributes, creator.handle == RH.PLATFORM
    index_type = (attributes & TPMA_NV.NT) >> TPMA_NV.NT_SHIFT
    name_size = digest_size(public.name_alg)
    special = attributes & TPMA_NV.POLICY_DELETE
    if special and CC.NV_UNDEFINE_SPACE_SPECIAL in tpm.profile.without_commands:
        raise TpmError(RC.ATTRIBUTES, at="public_info")
    if len(public.auth_policy) not in (0, name_size):
        raise TpmError(RC.SIZE, at="public_info")
    if len(auth_value) > name_size:
        raise TpmError(RC.SIZE, at="auth")
    if by_platform and not tpm.clear.platform_nv_enabled:
        raise TpmError(RC.HIERARCHY, at="auth_handle")
    update = nv.UPDATED_BY.get(index_type)
    if update is None or update in tpm.profile.without_commands:
        raise TpmError(RC.ATTRIBUTES, at="public_info")
    if not _size_fits(index_type, public.data_size, name_size):
        raise TpmError(RC.SIZE, at="public_info")
    if not _attributes_fit(index_type, attributes):
        raise TpmError(RC.ATTRIBUTES, at="public_info")
    if bool(attributes & TPMA_NV.PLATFORMCREATE) != by_platform:
        raise TpmError(RC.ATTRIBUTES, at="auth_handle")
    if special and not by_platform:
        raise TpmError(RC.ATTRIBUTES, at="public_info")
    if attributes & TPMA_NV.WRITEALL and public.data_size > MAX_NV_BUFFER_SIZE:
        raise TpmError(RC.SIZE, at="public_info")
    if public.nv_index in tpm.permanent.nv:
        raise TpmError(RC.NV_DEFINED)
    nv_space.require_for_index(tpm, public.data_size, counter=index_type == NT.COUNTER)


def _size_fits(index_type: int, size: int, name_size: int) -> bool:
    match index_type:
        case NT.ORDINARY:
            return True
        case NT.EXTEND:
            return size == name_size
        case _:
            return size == _NUMBER_SIZE


def _attributes_fit(index_type: int, attributes: int) -> bool:
    if attributes & (_FORBIDDEN.get(index_type, 0) | _STATE):
        return False
    if index_type == NT.PIN_FAIL and not attributes & TPMA_NV.NO_DA:
        return False
    if not attributes & _READ or not attributes & _WRITE:
        return False
    # Losing its contents would also end the lock that WRITEDEFINE promises to be permanent.
    never_locked = TPMA_NV.CLEAR_STCLEAR | TPMA_NV.WRITEDEFINE
    return attributes & never_locked != never_locked
