"""Part 3, chapter 30: Capability Commands."""

from functools import lru_cache
from itertools import islice
from typing import Annotated

from ..command import Auth, ReadOnly, attributes_of_commands, command
from ..core import capabilities, pcrs, templates
from ..rc import RC, TpmError
from ..state import Hierarchy, Tpm
from ..wire.base import TPMS_PCR_SELECTION
from ..wire.capabilities import TPM2B_SET_CAPABILITY_DATA, TPMS_CAPABILITY_DATA
from ..wire.constants import ALG, CAP, CC
from ..wire.interface import TPM_CAP, TPMI_RH_HIERARCHY_AUTH_NULL, TPMI_YES_NO, UINT32
from ..wire.limits import (
    MAX_ACT_DATA,
    MAX_CAP_ALGS,
    MAX_CAP_CC,
    MAX_CAP_HANDLES,
    MAX_ECC_CURVES,
    MAX_PCR_PROPERTIES,
    MAX_SPDM_SESSION_INFO,
    MAX_TAGGED_POLICIES,
    MAX_TPM_PROPERTIES,
)
from ..wire.objects import TPMS_ECC_PARMS, TPMT_PUBLIC_PARMS
from ..wire.structure import Structure

_PCRS = int(CAP.PCRS)  # looking up a member of an Enum takes 0.1 µs in Python 3.11
_LIMITS: dict[int, int] = {
    CAP.ALGS: MAX_CAP_ALGS,
    CAP.HANDLES: MAX_CAP_HANDLES,
    CAP.COMMANDS: MAX_CAP_CC,
    CAP.PP_COMMANDS: MAX_CAP_CC,
    CAP.AUDIT_COMMANDS: MAX_CAP_CC,
    CAP.TPM_PROPERTIES: MAX_TPM_PROPERTIES,
    CAP.PCR_PROPERTIES: MAX_PCR_PROPERTIES,
    CAP.ECC_CURVES: MAX_ECC_CURVES,
    CAP.AUTH_POLICIES: MAX_TAGGED_POLICIES,
    CAP.ACT: MAX_ACT_DATA,
    CAP.SPDM_SESSION_INFO: MAX_SPDM_SESSION_INFO,
}
"""Capability to how many of it fit into one answer."""


class GetCapabilityResponse(Structure):
    more_data: TPMI_YES_NO
    capability_data: TPMS_CAPABILITY_DATA


@command(CC.GET_CAPABILITY, keeps_orderly=True, in_failure_mode=True)
def get_capability(
    tpm: Tpm, /, capability: TPM_CAP, property: UINT32, property_count: UINT32
) -> GetCapabilityResponse:
    """Report what this TPM supports, and its current state (30.2)."""
    if capability == _PCRS:
        return _pcr_allocation(tpm, property, property_count)
    listed = capabilities.list_all(tpm, attributes_of_commands(tpm.profile), capability, property)
    count = min(property_count, _LIMITS[capability])
    # One more than is returned, to know whether there is more.
    found = list(islice((item for tag, item in listed if tag >= property), count + 1))
    return GetCapabilityResponse(
        int(len(found) > count), TPMS_CAPABILITY_DATA(capability, found[:count])
    )


@command(CC.TEST_PARMS, keeps_orderly=True)
def test_parms(tpm: Tpm, /, parameters: TPMT_PUBLIC_PARMS) -> None:
    """Check that algorithm parameters are supported (30.3).

    They are if they unmarshal, but for the KDFs of ECC keys that encapsulate.
    """
    match parameters.parameters:
        case TPMS_ECC_PARMS(kdf=kdf) as details if kdf.scheme == ALG.HKDF:
            if not templates.is_kem(details):
                raise TpmError(RC.KDF, at="parameters")


@command(CC.SET_CAPABILITY, nv=True, read_only=ReadOnly.REFUSED)
def set_capability(
    tpm: Tpm,
    auth_handle: Annotated[Hierarchy, TPMI_RH_HIERARCHY_AUTH_NULL, Auth.USER],
    /,
    set_capability_data: TPM2B_SET_CAPABILITY_DATA,
) -> None:
    """Set a property (30.4): no property of this TPM can be set."""
    raise TpmError(RC.VALUE, at="set_capability_data")


def _pcr_allocation(tpm: Tpm, first: int, count: int) -> GetCapabilityResponse:
    # All banks or none: the count does not limit them.
    if first:
        raise TpmError(RC.VALUE, at="property")
    if not count:
        return GetCapabilityResponse(1, TPMS_CAPABILITY_DATA(CAP.PCRS, []))
    return _allocated_banks(*tpm.permanent.pcr_allocation.items())


@lru_cache(1)  # the same from one _TPM_Init to the next
def _allocated_banks(*allocation: tuple[int, int]) -> GetCapabilityResponse:
    selections = [
        TPMS_PCR_SELECTION(bank, allocated.to_bytes(pcrs.SELECT_SIZE, "little"))
        for bank, allocated in sorted(allocation)
    ]
    return GetCapabilityResponse(0, TPMS_CAPABILITY_DATA(CAP.PCRS, selections))
