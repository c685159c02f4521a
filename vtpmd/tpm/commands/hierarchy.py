"""Part 3, chapter 24: Hierarchy Commands."""

from typing import Annotated

from ..command import Auth, ReadOnly, ResponseHandle, command
from ..core import countdown, creation, hierarchies, objects, templates, tickets
from ..crypto.hashes import digest_size
from ..rc import RC, TpmError
from ..state import CountdownTimer, Hierarchy, Tpm
from ..wire.algorithms import TPM2B_SENSITIVE_CREATE
from ..wire.base import (
    TPM2B_AUTH,
    TPM2B_DATA,
    TPM2B_DIGEST,
    TPM2B_NAME,
    TPML_PCR_SELECTION,
    TPMT_TK_CREATION,
)
from ..wire.constants import CC, RH
from ..wire.creation import TPM2B_CREATION_DATA
from ..wire.interface import (
    TPM_HANDLE,
    TPMI_ALG_HASH_NULL,
    TPMI_RH_BASE_HIERARCHY,
    TPMI_RH_CLEAR,
    TPMI_RH_ENABLES,
    TPMI_RH_HIERARCHY,
    TPMI_RH_HIERARCHY_AUTH,
    TPMI_RH_HIERARCHY_POLICY,
    TPMI_RH_PLATFORM,
    TPMI_YES_NO,
)
from ..wire.objects import TPM2B_PUBLIC
from ..wire.structure import Structure

_CONTROLLED_BY = {
    RH.PLATFORM: (RH.PLATFORM,),
    RH.PLATFORM_NV: (RH.PLATFORM,),
    RH.OWNER: (RH.PLATFORM, RH.OWNER),
    RH.ENDORSEMENT: (RH.PLATFORM, RH.ENDORSEMENT),
}


class CreatePrimaryResponse(Structure):
    object_handle: Annotated[TPM_HANDLE, ResponseHandle]
    out_public: TPM2B_PUBLIC
    creation_data: TPM2B_CREATION_DATA
    creation_hash: TPM2B_DIGEST
    creation_ticket: TPMT_TK_CREATION
    name: TPM2B_NAME


@command(CC.CREATE_PRIMARY, long=True, read_only=ReadOnly.REFUSED, has_template=True)
def create_primary(
    tpm: Tpm,
    primary_handle: Annotated[Hierarchy, TPMI_RH_HIERARCHY, Auth.USER],
    /,
    in_sensitive: TPM2B_SENSITIVE_CREATE,
    in_public: TPM2B_PUBLIC,
    outside_info: TPM2B_DATA,
    creation_pcr: TPML_PCR_SELECTION,
) -> CreatePrimaryResponse:
    """Derive a Primary Object from a Primary Seed, and load it (24.1)."""
    objects.require_slot(tpm)
    templates.check_creation(None, in_public, in_sensitive.data, at="in_public")
    auth_value = creation.authorization_value(
        in_sensitive.user_auth, in_public.name_alg, at="in_sensitive"
    )
    created = creation.primary_object(tpm, primary_handle, in_public, auth_value, in_sensitive.data)
    data, creation_hash = creation.creation_data(
        tpm, primary_handle, in_public.name_alg, creation_pcr, outside_info
    )
    ticket = tickets.creation(tpm, primary_handle.handle, created.name, creation_hash)
    handle = objects.add(tpm, created)
    return CreatePrimaryResponse(handle, created.public, data, creation_hash, ticket, created.name)


@command(CC.HIERARCHY_CONTROL, nv=True, extensive=True, read_only=ReadOnly.REFUSED)
def hierarchy_control(
    tpm: Tpm,
    auth_handle: Annotated[Hierarchy, TPMI_RH_BASE_HIERARCHY, Auth.USER],
    /,
    enable: TPMI_RH_ENABLES,
    state: TPMI_YES_NO,
) -> None:
    """Enable or disable a hierarchy and its NV indices (24.2).

    Only the platform can enable a hierarchy again: a disabled one can't authorize anything.
    """
    if auth_handle.handle not in _CONTROLLED_BY[RH(enable)]:
        raise TpmError(RC.AUTH_TYPE)
    hierarchies.set_enabled(tpm, enable, bool(state))


@command(CC.SET_PRIMARY_POLICY, nv=True, read_only=ReadOnly.REFUSED)
def set_primary_policy(
    tpm: Tpm,
    auth_handle: Annotated[Hierarchy | CountdownTimer, TPMI_RH_HIERARCHY_POLICY, Auth.USER],
    /,
    auth_policy: TPM2B_DIGEST,
    hash_alg: TPMI_ALG_HASH_NULL,
) -> None:
    """Set the policy of a hierarchy, of lockout or of a countdown timer (24.3)."""
    if len(auth_policy) != digest_size(hash_alg):
        raise TpmError(RC.SIZE, at="auth_policy")
    if isinstance(auth_handle, CountdownTimer):
        countdown.set_policy(tpm, auth_handle.handle, hash_alg, auth_policy)
        return
    tpm.begin_nv_update()
    auth_handle.policy_alg, auth_handle.auth_policy = hash_alg, auth_policy


@command(CC.CHANGE_PPS, nv=True, extensive=True, read_only=ReadOnly.REFUSED)
def change_pps(tpm: Tpm, auth_handle: Annotated[Hierarchy, TPMI_RH_PLATFORM, Auth.USER], /) -> None:
    """Replace the platform primary seed (24.4)."""
    tpm.begin_nv_update()
    hierarchies.change_platform_seed(tpm)


@command(CC.CHANGE_EPS, nv=True, extensive=True, read_only=ReadOnly.REFUSED)
def change_eps(tpm: Tpm, auth_handle: Annotated[Hierarchy, TPMI_RH_PLATFORM, Auth.USER], /) -> None:
    """Replace the endorsement primary seed (24.5)."""
    tpm.begin_nv_update()
    hierarchies.change_endorsement_seed(tpm)


@command(CC.CLEAR, nv=True, extensive=True, read_only=ReadOnly.REFUSED)
def clear(tpm: Tpm, auth_handle: Annotated[Hierarchy, TPMI_RH_CLEAR, Auth.USER], /) -> None:
    """Remove everything that belongs to the owner (24.6)."""
    if tpm.permanent.disable_clear:
        raise TpmError(RC.DISABLED)
    tpm.begin_nv_update()
    hierarchies.clear(tpm)


@command(CC.CLEAR_CONTROL, nv=True, read_only=ReadOnly.REFUSED)
def clear_control(
    tpm: Tpm,
    auth: Annotated[Hierarchy, TPMI_RH_CLEAR, Auth.USER],
    /,
    disable: TPMI_YES_NO,
) -> None:
    """Disable TPM2_Clear; only the platform can enable it again (24.7)."""
    if auth.handle == RH.LOCKOUT and not disable:
        raise TpmError(RC.AUTH_FAIL)
    tpm.begin_nv_update()
    tpm.permanent.disable_clear = bool(disable)


@command(CC.HIERARCHY_CHANGE_AUTH, nv=True, read_only=ReadOnly.REFUSED)
def hierarchy_change_auth(
    tpm: Tpm,
    auth_handle: Annotated[Hierarchy, TPMI_RH_HIERARCHY_AUTH, Auth.USER],
    /,
    new_auth: TPM2B_AUTH,
) -> None:
    """Set the authValue of a hierarchy or of lockout (24.8)."""
    tpm.begin_nv_update()
    auth_handle.auth_value = new_auth.rstrip(b"\0")


@command(CC.READ_ONLY_CONTROL)
def read_only_control(
    tpm: Tpm,
    auth_handle: Annotated[Hierarchy, TPMI_RH_PLATFORM, Auth.USER],
    /,
    state: TPMI_YES_NO,
) -> None:
    """Enter or leave Read-Only mode, in which nothing new is created or stored (24.9)."""
    tpm.clear.read_only = bool(state)
