"""Part 3, chapter 31: Non-volatile Storage.

TPM2_NV_Certify (31.16) is with the attestation commands.
"""

from typing import Annotated

from ..command import Auth, ReadOnly, command
from ..core import nv, nv_definition
from ..crypto.hashes import digest, digest_size
from ..rc import RC, TpmError
from ..state import Hierarchy, NvIndex, Tpm
from ..wire.attributes import TPMA_NV
from ..wire.base import TPM2B_AUTH, TPM2B_MAX_NV_BUFFER, TPM2B_NAME
from ..wire.constants import CC, HT, RH
from ..wire.interface import (
    TPMI_RH_NV_AUTH,
    TPMI_RH_NV_DEFINED_INDEX,
    TPMI_RH_NV_INDEX,
    TPMI_RH_NV_LEGACY_INDEX,
    TPMI_RH_PLATFORM,
    TPMI_RH_PROVISION,
    UINT16,
    UINT64,
)
from ..wire.limits import MAX_NV_BUFFER_SIZE
from ..wire.nv import TPM2B_NV_PUBLIC, TPM2B_NV_PUBLIC_2, TPMS_NV_PUBLIC, TPMT_NV_PUBLIC_2
from ..wire.structure import Structure

Authority = Annotated[Hierarchy | NvIndex, TPMI_RH_NV_AUTH, Auth.USER]
Index = Annotated[NvIndex, TPMI_RH_NV_INDEX]


class NvReadPublicResponse(Structure):
    nv_public: TPM2B_NV_PUBLIC
    nv_name: TPM2B_NAME


class NvReadPublic2Response(Structure):
    nv_public: TPM2B_NV_PUBLIC_2
    nv_name: TPM2B_NAME


class NvReadResponse(Structure):
    data: TPM2B_MAX_NV_BUFFER


@command(CC.NV_DEFINE_SPACE, nv=True, read_only=ReadOnly.REFUSED)
def nv_define_space(
    tpm: Tpm,
    auth_handle: Annotated[Hierarchy, TPMI_RH_PROVISION, Auth.USER],
    /,
    auth: TPM2B_AUTH,
    public_info: TPM2B_NV_PUBLIC,
) -> None:
    """Define an index (31.3)."""
    _define(tpm, auth_handle, auth, public_info)


@command(CC.NV_DEFINE_SPACE2, nv=True, read_only=ReadOnly.REFUSED)
def nv_define_space2(
    tpm: Tpm,
    auth_handle: Annotated[Hierarchy, TPMI_RH_PROVISION, Auth.USER],
    /,
    auth: TPM2B_AUTH,
    public_info: TPM2B_NV_PUBLIC_2,
) -> None:
    """Define an index of any kind (31.17); external NV is not supported."""
    public = public_info.public_area
    if public_info.handle_type != HT.NV_INDEX or not isinstance(public, TPMS_NV_PUBLIC):
        raise TpmError(RC.HANDLE, at="public_info")
    _define(tpm, auth_handle, auth, public)


def _define(tpm: Tpm, creator: Hierarchy, auth: bytes, public: TPMS_NV_PUBLIC) -> None:
    auth_value = auth.rstrip(b"\0")
    nv_definition.check(tpm, creator, public, auth_value)
    nv.define(tpm, public, auth_value)


@command(CC.NV_UNDEFINE_SPACE, nv=True, read_only=ReadOnly.REFUSED)
def nv_undefine_space(
    tpm: Tpm,
    auth_handle: Annotated[Hierarchy, TPMI_RH_PROVISION, Auth.USER],
    nv_index: Annotated[NvIndex, TPMI_RH_NV_DEFINED_INDEX],
    /,
) -> None:
    """Delete an index (31.4)."""
    if nv_index.has(TPMA_NV.POLICY_DELETE):
        raise TpmError(RC.ATTRIBUTES, at="nv_index")
    if auth_handle.handle == RH.OWNER and nv_index.has(TPMA_NV.PLATFORMCREATE):
        raise TpmError(RC.NV_AUTHORIZATION)
    nv.undefine(tpm, nv_index)


@command(CC.NV_UNDEFINE_SPACE_SPECIAL, nv=True, read_only=ReadOnly.REFUSED)
def nv_undefine_space_special(
    tpm: Tpm,
    nv_index: Annotated[NvIndex, TPMI_RH_NV_DEFINED_INDEX, Auth.ADMIN],
    platform: Annotated[Hierarchy, TPMI_RH_PLATFORM, Auth.USER],
    /,
) -> None:
    """Delete an index whose own policy must authorize it (31.5)."""
    if not nv_index.has(TPMA_NV.POLICY_DELETE):
        raise TpmError(RC.ATTRIBUTES, at="nv_index")
    nv.undefine(tpm, nv_index)


@command(CC.NV_READ_PUBLIC, keeps_orderly=True)
def nv_read_public(
    tpm: Tpm, nv_index: Annotated[NvIndex, TPMI_RH_NV_LEGACY_INDEX], /
) -> NvReadPublicResponse:
    """Return the public area and the Name of an index (31.6)."""
    return NvReadPublicResponse(nv_index.public, nv_index.name)


@command(CC.NV_READ_PUBLIC2, keeps_orderly=True)
def nv_read_public2(tpm: Tpm, nv_index: Index, /) -> NvReadPublic2Response:
    """Return the public area and the Name of an index of any kind (31.18)."""
    return NvReadPublic2Response(TPMT_NV_PUBLIC_2(HT.NV_INDEX, nv_index.public), nv_index.name)


@command(CC.NV_WRITE, nv=True, read_only=ReadOnly.VOLATILE_INDICES, writes_index=True)
def nv_write(
    tpm: Tpm,
    auth_handle: Authority,
    nv_index: Index,
    /,
    data: TPM2B_MAX_NV_BUFFER,
    offset: UINT16,
) -> None:
    """Write a part of an ordinary or PIN index (31.7)."""
    nv.check_write(auth_handle, nv_index)
    if nv.UPDATED_BY[nv_index.nt] != CC.NV_WRITE:
        raise TpmError(RC.ATTRIBUTES)
    size = nv_index.public.data_size
    if offset > size:
        raise TpmError(RC.VALUE, at="offset")
    end = offset + len(data)
    if end > size or (nv_index.has(TPMA_NV.WRITEALL) and len(data) < size):
        raise TpmError(RC.NV_RANGE)
    before = nv.contents(nv_index)
    nv.store(tpm, nv_index, before[:offset] + data + before[end:])


@command(CC.NV_INCREMENT, nv=True, read_only=ReadOnly.REFUSED, writes_index=True)
def nv_increment(tpm: Tpm, auth_handle: Authority, nv_index: Index, /) -> None:
    """Increment a counter (31.8)."""
    nv.check_write(auth_handle, nv_index)
    _require_updated_by(CC.NV_INCREMENT, nv_index)
    nv.store(tpm, nv_index, nv.next_count(tpm, nv_index).to_bytes(8))


@command(CC.NV_EXTEND, nv=True, read_only=ReadOnly.VOLATILE_INDICES, writes_index=True)
def nv_extend(
    tpm: Tpm, auth_handle: Authority, nv_index: Index, /, data: TPM2B_MAX_NV_BUFFER
) -> None:
    """Extend an index as if it were a PCR (31.9)."""
    nv.check_write(auth_handle, nv_index)
    _require_updated_by(CC.NV_EXTEND, nv_index)
    nv.store(tpm, nv_index, digest(nv_index.public.name_alg, nv.contents(nv_index), data))


@command(CC.NV_SET_BITS, nv=True, read_only=ReadOnly.VOLATILE_INDICES, writes_index=True)
def nv_set_bits(tpm: Tpm, auth_handle: Authority, nv_index: Index, /, bits: UINT64) -> None:
    """SET bits of a bit field (31.10)."""
    nv.check_write(auth_handle, nv_index)
    _require_updated_by(CC.NV_SET_BITS, nv_index)
    nv.store(tpm, nv_index, (int.from_bytes(nv.contents(nv_index)) | bits).to_bytes(8))


def _require_updated_by(code: int, index: NvIndex) -> None:
    if nv.UPDATED_BY[index.nt] != code:
        raise TpmError(RC.ATTRIBUTES, at="nv_index")


@command(CC.NV_WRITE_LOCK, nv=True, read_only=ReadOnly.VOLATILE_INDICES, writes_index=True)
def nv_write_lock(tpm: Tpm, auth_handle: Authority, nv_index: Index, /) -> None:
    """Lock an index against writing (31.11); a locked one stays locked."""
    if nv_index.has(TPMA_NV.WRITELOCKED):
        return
    nv.require_write_authority(auth_handle, nv_index)
    if not nv_index.has(TPMA_NV.WRITEDEFINE | TPMA_NV.WRITE_STCLEAR):
        raise TpmError(RC.ATTRIBUTES, at="nv_index")
    nv.lock(tpm, [nv_index], TPMA_NV.WRITELOCKED)


@command(CC.NV_GLOBAL_WRITE_LOCK, nv=True, read_only=ReadOnly.REFUSED)
def nv_global_write_lock(
    tpm: Tpm, auth_handle: Annotated[Hierarchy, TPMI_RH_PROVISION, Auth.USER], /
) -> None:
    """Lock all indices with TPMA_NV_GLOBALLOCK against writing (31.12)."""
    locked = [index for index in tpm.permanent.nv.values() if index.has(TPMA_NV.GLOBALLOCK)]
    nv.lock(tpm, locked, TPMA_NV.WRITELOCKED)


@command(CC.NV_READ)
def nv_read(
    tpm: Tpm, auth_handle: Authority, nv_index: Index, /, size: UINT16, offset: UINT16
) -> NvReadResponse:
    """Read a part of an index (31.13)."""
    nv.check_read(auth_handle, nv_index)
    if size > MAX_NV_BUFFER_SIZE:
        raise TpmError(RC.VALUE, at="size")
    if offset > nv_index.public.data_size:
        raise TpmError(RC.VALUE, at="offset")
    return NvReadResponse(nv.read_range(nv_index, size, offset))


@command(CC.NV_READ_LOCK, nv=True, read_only=ReadOnly.VOLATILE_INDICES)
def nv_read_lock(tpm: Tpm, auth_handle: Authority, nv_index: Index, /) -> None:
    """Lock an index, written or not, against reading (31.14); a locked one stays locked."""
    if nv_index.has(TPMA_NV.READLOCKED):
        return
    nv.require_read_authority(auth_handle, nv_index)
    if not nv_index.has(TPMA_NV.READ_STCLEAR):
        raise TpmError(RC.ATTRIBUTES, at="nv_index")
    nv.lock(tpm, [nv_index], TPMA_NV.READLOCKED)


@command(CC.NV_CHANGE_AUTH, nv=True, read_only=ReadOnly.REFUSED)
def nv_change_auth(
    tpm: Tpm,
    nv_index: Annotated[NvIndex, TPMI_RH_NV_INDEX, Auth.ADMIN],
    /,
    new_auth: TPM2B_AUTH,
) -> None:
    """Change the authValue of an index (31.15)."""
    auth_value = new_auth.rstrip(b"\0")
    if len(auth_value) > digest_size(nv_index.public.name_alg):
        raise TpmError(RC.SIZE, at="new_auth")
    tpm.begin_nv_update()
    nv_index.auth_value = auth_value
