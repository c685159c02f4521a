"""Part 3, chapter 30: Capability Commands."""

from collections.abc import Callable, Iterable
from typing import Any

from ..command import COMMANDS, command
from ..core import pcrs, properties
from ..rc import RC, TpmError
from ..state import PCR_COUNT, Hierarchy, Tpm
from ..wire.base import TPMS_PCR_SELECTION, TPMT_HA
from ..wire.capabilities import (
    TPMS_ALG_PROPERTY,
    TPMS_CAPABILITY_DATA,
    TPMS_TAGGED_PCR_SELECT,
    TPMS_TAGGED_POLICY,
    TPMS_TAGGED_PROPERTY,
)
from ..wire.constants import CAP, CC, HT, RH
from ..wire.interface import TPM_CAP, TPMI_YES_NO, UINT32
from ..wire.limits import (
    MAX_CAP_ALGS,
    MAX_CAP_CC,
    MAX_CAP_HANDLES,
    MAX_ECC_CURVES,
    MAX_PCR_PROPERTIES,
    MAX_TAGGED_POLICIES,
    MAX_TPM_PROPERTIES,
)
from ..wire.objects import TPMT_PUBLIC_PARMS
from ..wire.structure import Structure

_PERMANENT_HANDLES = (
    RH.OWNER,
    RH.NULL,
    RH.RS_PW,
    RH.LOCKOUT,
    RH.ENDORSEMENT,
    RH.PLATFORM,
    RH.PLATFORM_NV,
)


class GetCapabilityResponse(Structure):
    more_data: TPMI_YES_NO
    capability_data: TPMS_CAPABILITY_DATA


@command(CC.GET_CAPABILITY)
def get_capability(
    tpm: Tpm, /, capability: TPM_CAP, property: UINT32, property_count: UINT32
) -> GetCapabilityResponse:
    """Tell what this TPM is, has and can do (30.2)."""
    if capability == CAP.PCRS:
        return _pcr_allocation(tpm, property)
    list_all, limit = _LISTS.get(capability, (None, 0))
    if list_all is None:
        raise TpmError(RC.VALUE, at="capability")
    found = [item for tag, item in list_all(tpm, property) if tag >= property]
    count = min(property_count, limit)
    return GetCapabilityResponse(
        int(len(found) > count), TPMS_CAPABILITY_DATA(capability, found[:count])
    )


@command(CC.TEST_PARMS)
def test_parms(tpm: Tpm, /, parameters: TPMT_PUBLIC_PARMS) -> None:
    """Tell whether algorithm parameters are supported (30.3): they are if they unmarshal."""


def _pcr_allocation(tpm: Tpm, first: int) -> GetCapabilityResponse:
    if first:
        raise TpmError(RC.VALUE, at="property")
    selections = [
        TPMS_PCR_SELECTION(bank, allocated.to_bytes(pcrs.SELECT_SIZE, "little"))
        for bank, allocated in sorted(tpm.permanent.pcr_allocation.items())
    ]
    return GetCapabilityResponse(0, TPMS_CAPABILITY_DATA(CAP.PCRS, selections))


Listed = Iterable[tuple[int, Any]]
"""Pairs of what a property is compared with, and what is returned for it."""


def _algorithms(tpm: Tpm, first: int) -> Listed:
    for alg, attributes in properties.algorithm_properties(tpm.profile):
        yield alg, TPMS_ALG_PROPERTY(alg, attributes)


def _handles(tpm: Tpm, first: int) -> Listed:
    list_handles = _HANDLES.get(first >> 24)
    if list_handles is None:
        raise TpmError(RC.HANDLE, at="property")
    numbers = sorted(list_handles(tpm))
    if first >> 24 in (HT.HMAC_SESSION, HT.POLICY_SESSION):
        # Both types of session share their numbers: 02 lists those loaded, 03 those saved.
        return ((first & 0xFF000000 | handle & 0xFFFFFF, handle) for handle in numbers)
    return ((handle, handle) for handle in numbers)


_HANDLES: dict[int, Callable[[Tpm], Iterable[int]]] = {
    HT.PCR: lambda tpm: range(PCR_COUNT),
    HT.NV_INDEX: lambda tpm: tpm.permanent.nv,
    HT.HMAC_SESSION: lambda tpm: tpm.volatile.sessions,
    HT.POLICY_SESSION: lambda tpm: tpm.reset.saved_sessions,
    HT.PERMANENT: lambda tpm: map(int, _PERMANENT_HANDLES),
    HT.TRANSIENT: lambda tpm: tpm.volatile.objects,
    HT.PERSISTENT: lambda tpm: tpm.permanent.objects,
}


def implemented(tpm: Tpm) -> list[int]:
    """The codes of the commands that this TPM has, in order."""
    return sorted(code for code in COMMANDS if tpm.profile.allows_command(code))


def _commands(tpm: Tpm, first: int) -> Listed:
    return ((code, COMMANDS[code].attributes) for code in implemented(tpm))


def _pp_commands(tpm: Tpm, first: int) -> Listed:
    return ((code, code) for code in sorted(tpm.permanent.pp_commands))


def _audit_commands(tpm: Tpm, first: int) -> Listed:
    return ((code, code) for code in sorted(tpm.permanent.audit_commands))


def _tpm_properties(tpm: Tpm, first: int) -> Listed:
    for tag, value in properties.tpm_properties(tpm, len(implemented(tpm))):
        yield tag, TPMS_TAGGED_PROPERTY(tag, value)


def _pcr_properties(tpm: Tpm, first: int) -> Listed:
    for tag, selected in properties.pcr_properties():
        yield tag, TPMS_TAGGED_PCR_SELECT(tag, selected)


def _ecc_curves(tpm: Tpm, first: int) -> Listed:
    return ((curve, curve) for curve in sorted(tpm.profile.ecc_curves))


def _auth_policies(tpm: Tpm, first: int) -> Listed:
    permanent = tpm.permanent
    owners: tuple[Hierarchy, ...] = (
        permanent.owner,
        permanent.lockout,
        permanent.endorsement,
        permanent.platform,
    )
    for owner in owners:
        if owner.auth_policy:
            policy = TPMT_HA(owner.policy_alg, owner.auth_policy)
            yield owner.handle, TPMS_TAGGED_POLICY(owner.handle, policy)


_LISTS: dict[int, tuple[Callable[[Tpm, int], Listed], int]] = {
    CAP.ALGS: (_algorithms, MAX_CAP_ALGS),
    CAP.HANDLES: (_handles, MAX_CAP_HANDLES),
    CAP.COMMANDS: (_commands, MAX_CAP_CC),
    CAP.PP_COMMANDS: (_pp_commands, MAX_CAP_CC),
    CAP.AUDIT_COMMANDS: (_audit_commands, MAX_CAP_CC),
    CAP.TPM_PROPERTIES: (_tpm_properties, MAX_TPM_PROPERTIES),
    CAP.PCR_PROPERTIES: (_pcr_properties, MAX_PCR_PROPERTIES),
    CAP.ECC_CURVES: (_ecc_curves, MAX_ECC_CURVES),
    CAP.AUTH_POLICIES: (_auth_policies, MAX_TAGGED_POLICIES),
}
"""Capability to what lists all of it, and how many fit into one answer."""
