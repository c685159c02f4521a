"""What a TPM reports about itself, property by property (Part 3, 23.23 and 30.2)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..rc import RC, TpmError
from ..state import PCR_COUNT, CountdownTimer, Hierarchy, Tpm
from ..wire.base import TPMT_HA
from ..wire.capabilities import (
    TPMS_ALG_PROPERTY,
    TPMS_CAPABILITY_DATA,
    TPMS_TAGGED_PCR_SELECT,
    TPMS_TAGGED_POLICY,
    TPMS_TAGGED_PROPERTY,
)
from ..wire.constants import CAP, HT, RH
from . import audit, countdown, properties

_PERMANENT_HANDLES = (
    RH.OWNER,
    RH.NULL,
    RH.RS_PW,
    RH.LOCKOUT,
    RH.ENDORSEMENT,
    RH.PLATFORM,
    RH.PLATFORM_NV,
)
_LIST_HEADER = 8
"""Octets of capability and count before the first element of a TPMS_CAPABILITY_DATA."""

Commands = Mapping[int, int]
"""Codes of the commands that the TPM has, with their TPMA_CC."""
Listed = Iterable[tuple[int, Any]]
"""Pairs of the value that selects a property and the value that is returned for it."""


def list_all(tpm: Tpm, commands: Commands, capability: int, first: int) -> Listed:
    """All properties of a capability in order; `first` chooses between kinds of handles.

    Raises RC.VALUE at `capability` for one that has no such list; RC.HANDLE and RC.VALUE at
    `property`.
    """
    lister = _LISTS.get(capability)
    if lister is None:
        raise TpmError(RC.VALUE, at="capability")
    return lister(tpm, commands, first)


def octets_of(tpm: Tpm, commands: Commands, capability: int, tag: int) -> bytes | None:
    """The octets of one property; None if the TPM has none of this tag. Errors: as `list_all`."""
    for found, item in list_all(tpm, commands, capability, tag):
        if found == tag:
            return TPMS_CAPABILITY_DATA(capability, [item]).marshal()[_LIST_HEADER:]
    return None


def _algorithms(tpm: Tpm, commands: Commands, first: int) -> Listed:
    for alg, attributes in properties.algorithm_properties(tpm.profile):
        yield alg, TPMS_ALG_PROPERTY(alg, attributes)


def _handles(tpm: Tpm, commands: Commands, first: int) -> Listed:
    list_handles = _HANDLES.get(first >> 24)
    if list_handles is None:
        raise TpmError(RC.HANDLE, at="property")
    if first >> 24 in (HT.HMAC_SESSION, HT.POLICY_SESSION):
        # Both types of session share their numbers: 02 lists those loaded, 03 those saved.
        by_number = {handle & 0xFFFFFF: handle for handle in list_handles(tpm)}
        return ((first & 0xFF000000 | number, by_number[number]) for number in sorted(by_number))
    return ((handle, handle) for handle in sorted(list_handles(tpm)))


def _as_saved(session: int) -> int:
    """The listed handle of a saved session: always of the type of an HMAC session (30.2)."""
    return HT.HMAC_SESSION << 24 | session & 0xFFFFFF


_HANDLES: dict[int, Callable[[Tpm], Iterable[int]]] = {
    HT.PCR: lambda tpm: range(PCR_COUNT),
    HT.NV_INDEX: lambda tpm: tpm.permanent.nv,
    HT.HMAC_SESSION: lambda tpm: tpm.volatile.sessions,
    HT.POLICY_SESSION: lambda tpm: map(_as_saved, tpm.reset.saved_sessions),
    HT.EXTERNAL_NV: lambda tpm: (),
    HT.PERMANENT_NV: lambda tpm: (),
    HT.PERMANENT: lambda tpm: (*map(int, _PERMANENT_HANDLES), *countdown.HANDLES),
    HT.TRANSIENT: lambda tpm: tpm.volatile.objects,
    HT.PERSISTENT: lambda tpm: tpm.permanent.objects,
}


def _commands(tpm: Tpm, commands: Commands, first: int) -> Listed:
    return sorted(commands.items())


def _pp_commands(tpm: Tpm, commands: Commands, first: int) -> Listed:
    return ((code, code) for code in sorted(tpm.permanent.pp_commands) if code in commands)


def _audit_commands(tpm: Tpm, commands: Commands, first: int) -> Listed:
    return ((code, code) for code in audit.commands(tpm))


def _tpm_properties(tpm: Tpm, commands: Commands, first: int) -> Listed:
    for tag, value in properties.tpm_properties(tpm, commands.values(), first):
        yield tag, TPMS_TAGGED_PROPERTY(tag, value)


def _pcr_properties(tpm: Tpm, commands: Commands, first: int) -> Listed:
    for tag, selected in properties.pcr_properties():
        yield tag, TPMS_TAGGED_PCR_SELECT(tag, selected)


def _ecc_curves(tpm: Tpm, commands: Commands, first: int) -> Listed:
    return ((curve, curve) for curve in sorted(tpm.profile.ecc_curves))


def _auth_policies(tpm: Tpm, commands: Commands, first: int) -> Listed:
    _require_permanent(first)
    permanent = tpm.permanent
    owners: tuple[Hierarchy | CountdownTimer, ...] = (
        permanent.owner,
        permanent.lockout,
        permanent.endorsement,
        permanent.platform,
        *(countdown.entity(tpm, handle) for handle in countdown.HANDLES),
    )
    for owner in owners:
        policy = TPMT_HA(owner.policy_alg, owner.auth_policy)
        yield owner.handle, TPMS_TAGGED_POLICY(owner.handle, policy)


def _countdowns(tpm: Tpm, commands: Commands, first: int) -> Listed:
    _require_permanent(first)
    return ((timer.handle, timer) for timer in countdown.data(tpm))


def _public_keys(tpm: Tpm, commands: Commands, first: int) -> Listed:
    # Only a secure channel has public keys, and this TPM has none.
    raise TpmError(RC.VALUE, at="property")


def _secure_channel(tpm: Tpm, commands: Commands, first: int) -> Listed:
    if first:
        raise TpmError(RC.VALUE, at="property")
    return ()


def _require_permanent(first: int) -> None:
    if first >> 24 != HT.PERMANENT:
        raise TpmError(RC.VALUE, at="property")


_LISTS: dict[int, Callable[[Tpm, Commands, int], Listed]] = {
    CAP.ALGS: _algorithms,
    CAP.HANDLES: _handles,
    CAP.COMMANDS: _commands,
    CAP.PP_COMMANDS: _pp_commands,
    CAP.AUDIT_COMMANDS: _audit_commands,
    CAP.TPM_PROPERTIES: _tpm_properties,
    CAP.PCR_PROPERTIES: _pcr_properties,
    CAP.ECC_CURVES: _ecc_curves,
    CAP.AUTH_POLICIES: _auth_policies,
    CAP.ACT: _countdowns,
    CAP.PUB_KEYS: _public_keys,
    CAP.SPDM_SESSION_INFO: _secure_channel,
}
