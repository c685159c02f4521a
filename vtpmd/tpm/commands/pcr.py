"""Part 3, chapter 22: Integrity Collection (PCR)."""

from typing import Annotated

from ..command import Auth, ReadOnly, command
from ..core import pcrs
from ..crypto.hashes import digest, digest_size
from ..rc import RC, TpmError
from ..state import PCR_COUNT, Hierarchy, Pcr, Tpm
from ..wire.base import (
    TPM2B_DIGEST,
    TPM2B_EVENT,
    TPML_DIGEST,
    TPML_DIGEST_VALUES,
    TPML_PCR_SELECTION,
    TPMT_HA,
)
from ..wire.constants import CC
from ..wire.interface import (
    TPMI_ALG_HASH_NULL,
    TPMI_DH_PCR,
    TPMI_DH_PCR_NULL,
    TPMI_RH_PLATFORM,
    TPMI_YES_NO,
    UINT32,
)
from ..wire.limits import MAX_POLICY_DIGESTS
from ..wire.structure import Structure


class PcrEventResponse(Structure):
    digests: TPML_DIGEST_VALUES


class PcrReadResponse(Structure):
    pcr_update_counter: UINT32
    pcr_selection_out: TPML_PCR_SELECTION
    pcr_values: TPML_DIGEST


class PcrAllocateResponse(Structure):
    allocation_success: TPMI_YES_NO
    max_pcr: UINT32
    size_needed: UINT32
    size_available: UINT32


@command(CC.PCR_EXTEND, nv=True)
def pcr_extend(
    tpm: Tpm,
    pcr_handle: Annotated[Pcr | None, TPMI_DH_PCR_NULL, Auth.USER],
    /,
    digests: TPML_DIGEST_VALUES,
) -> None:
    """Extend one PCR in every bank a digest is given for (22.2)."""
    pcrs.require_extendable(tpm, pcr_handle)
    pcrs.extend(tpm, pcr_handle, digests)


@command(CC.PCR_EVENT, nv=True)
def pcr_event(
    tpm: Tpm,
    pcr_handle: Annotated[Pcr | None, TPMI_DH_PCR_NULL, Auth.USER],
    /,
    event_data: TPM2B_EVENT,
) -> PcrEventResponse:
    """Hash an event for every bank, and extend one PCR with it (22.3)."""
    pcrs.require_extendable(tpm, pcr_handle)
    digests = [TPMT_HA(bank, digest(bank, event_data)) for bank in sorted(tpm.profile.pcr_banks)]
    pcrs.extend(tpm, pcr_handle, digests)
    return PcrEventResponse(digests)


@command(CC.PCR_READ, keeps_orderly=True)
def pcr_read(tpm: Tpm, /, pcr_selection_in: TPML_PCR_SELECTION) -> PcrReadResponse:
    """Return as many PCRs as fit into a TPML_DIGEST, and which they are (22.4)."""
    values: list[bytes] = []
    for selection in pcr_selection_in:
        values += pcrs.narrow(tpm, selection, MAX_POLICY_DIGESTS - len(values))
    return PcrReadResponse(tpm.reset.pcr_update_counter, pcr_selection_in, values)


@command(CC.PCR_ALLOCATE, nv=True, read_only=ReadOnly.REFUSED)
def pcr_allocate(
    tpm: Tpm,
    auth_handle: Annotated[Hierarchy, TPMI_RH_PLATFORM, Auth.USER],
    /,
    pcr_allocation: TPML_PCR_SELECTION,
) -> PcrAllocateResponse:
    """Choose the PCR banks from the next _TPM_Init on (22.5), replacing an earlier choice."""
    allocation = dict(tpm.permanent.pcr_allocation)
    for selection in pcr_allocation:
        if selection.hash not in tpm.profile.pcr_banks:
            raise TpmError(RC.HASH, at="pcr_allocation")
        allocation[selection.hash] = int.from_bytes(selection.pcr_select, "little")
    for required in (pcrs.HCRTM, pcrs.DRTM):
        if not any(bits >> required & 1 for bits in allocation.values()):
            raise TpmError(RC.PCR)
    needed = sum(digest_size(bank) * bits.bit_count() for bank, bits in allocation.items())
    available = sum(digest_size(bank) * PCR_COUNT for bank in tpm.profile.pcr_banks)
    tpm.begin_nv_update()
    tpm.permanent.pcr_allocation_next = allocation
    tpm.volatile.pcr_allocation_pending = True
    return PcrAllocateResponse(1, PCR_COUNT, needed, available)


@command(CC.PCR_SET_AUTH_POLICY, nv=True, read_only=ReadOnly.REFUSED)
def pcr_set_auth_policy(
    tpm: Tpm,
    auth_handle: Annotated[Hierarchy, TPMI_RH_PLATFORM, Auth.USER],
    /,
    auth_policy: TPM2B_DIGEST,
    hash_alg: TPMI_ALG_HASH_NULL,
    pcr_num: TPMI_DH_PCR,
) -> None:
    """Set the policy shared by all PCRs that can have one (22.6)."""
    if len(auth_policy) != digest_size(hash_alg):
        raise TpmError(RC.SIZE, at="auth_policy")
    if not pcrs.ATTRIBUTES[pcr_num].authorized:
        raise TpmError(RC.VALUE, at="pcr_num")
    tpm.begin_nv_update()
    tpm.permanent.pcr_policy_alg, tpm.permanent.pcr_policy = hash_alg, auth_policy


@command(CC.PCR_SET_AUTH_VALUE, read_only=ReadOnly.REFUSED)
def pcr_set_auth_value(
    tpm: Tpm,
    pcr_handle: Annotated[Pcr, TPMI_DH_PCR, Auth.USER],
    /,
    auth: TPM2B_DIGEST,
) -> None:
    """Set the authValue shared by all PCRs that can have one (22.7)."""
    if not pcrs.ATTRIBUTES[pcr_handle.handle].authorized:
        raise TpmError(RC.VALUE)
    pcr_handle.auth_value = tpm.clear.pcr_auth_value = auth.rstrip(b"\0")


@command(CC.PCR_RESET, nv=True)
def pcr_reset(tpm: Tpm, pcr_handle: Annotated[Pcr, TPMI_DH_PCR, Auth.USER], /) -> None:
    """Set a PCR to zero in every bank (22.8)."""
    if not pcrs.reset_allowed(tpm, pcr_handle.handle):
        raise TpmError(RC.LOCALITY)
    pcrs.reset(tpm, pcr_handle.handle)
