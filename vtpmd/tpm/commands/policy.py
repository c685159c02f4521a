"""Part 3, chapter 23: Enhanced Authorization, assertions about state, command and use (23.6-23.25).

Every assertion extends policyDigest. Immediate ones are checked here, except in a trial session;
deferred ones are checked by `core.authorization` when the session authorizes a command.
"""

from typing import Annotated

from ..command import Auth, attributes_of_commands, command, find
from ..core import capabilities, clock, nv, policy, tickets
from ..core.pcrs import selection_digest
from ..crypto.hashes import digest, digest_size
from ..rc import RC, TpmError
from ..state import Hierarchy, NvIndex, Session, Tpm
from ..wire.attributes import LOCALITY_ATTRIBUTES
from ..wire.base import (
    TPM2B_DIGEST,
    TPM2B_NAME,
    TPM2B_NONCE,
    TPM2B_OPERAND,
    TPML_DIGEST,
    TPML_PCR_SELECTION,
    TPMT_HA,
    TPMT_TK_VERIFIED,
)
from ..wire.constants import CC, EO
from ..wire.interface import (
    TPM_CAP,
    TPM_CC,
    TPM_EO,
    TPMI_RH_NV_AUTH,
    TPMI_RH_NV_INDEX,
    TPMI_SH_POLICY,
    TPMI_YES_NO,
    UINT16,
    UINT32,
)
from ..wire.structure import Structure, writer

PolicySession = Annotated[Session, TPMI_SH_POLICY]
Authority = Annotated[Hierarchy | NvIndex, TPMI_RH_NV_AUTH, Auth.USER]
Index = Annotated[NvIndex, TPMI_RH_NV_INDEX]

_ALL_LOCALITIES = 0x1F
_TIME_AND_CLOCK = 16
"""Octets of TPMS_TIME_INFO that stand still while the host can't store (Part 1, 34.7.2.2)."""
_write_selection = writer(TPML_PCR_SELECTION)
_write_name = writer(TPM2B_NAME)


class PolicyGetDigestResponse(Structure):
    policy_digest: TPM2B_DIGEST


@command(CC.POLICY_OR)
def policy_or(tpm: Tpm, policy_session: PolicySession, /, p_hash_list: TPML_DIGEST) -> None:
    """Require that policyDigest is one of these (23.6)."""
    if not policy_session.is_trial and policy.state_of(policy_session).digest not in p_hash_list:
        raise TpmError(RC.VALUE, at="p_hash_list")
    policy.clear(policy_session)
    policy.extend(policy_session, CC.POLICY_OR, *p_hash_list)


@command(CC.POLICY_PCR)
def policy_pcr(
    tpm: Tpm,
    policy_session: PolicySession,
    /,
    pcr_digest: TPM2B_DIGEST,
    pcrs: TPML_PCR_SELECTION,
) -> None:
    """Require that PCRs have these values, now and when the session is used (23.7).

    As in libtpms, PCRs that don't exist are dropped from the selection in a trial session, too.
    """
    state = policy.state_of(policy_session)
    current, selections = selection_digest(tpm, policy_session.auth_hash, pcrs)
    if not policy_session.is_trial:
        counter = tpm.reset.pcr_update_counter
        if state.pcr_update_counter not in (None, counter):
            raise TpmError(RC.PCR_CHANGED)
        if pcr_digest not in (b"", current):
            raise TpmError(RC.VALUE, at="pcr_digest")
        state.pcr_update_counter = counter
    elif pcr_digest:
        current = pcr_digest
    policy.extend(policy_session, CC.POLICY_PCR, _write_selection(selections), current)


@command(CC.POLICY_LOCALITY)
def policy_locality(
    tpm: Tpm, policy_session: PolicySession, /, locality: LOCALITY_ATTRIBUTES
) -> None:
    """Require one of these localities (23.8)."""
    state = policy.state_of(policy_session)
    if locality <= _ALL_LOCALITIES:
        allowed = (state.locality or _ALL_LOCALITIES) & locality
        compatible = allowed != 0 and state.locality <= _ALL_LOCALITIES
    else:
        allowed = locality
        compatible = state.locality in (0, locality)
    if not compatible:
        raise TpmError(RC.RANGE, at="locality")
    policy.extend(policy_session, CC.POLICY_LOCALITY, locality.to_bytes(1))
    state.locality = allowed


@command(CC.POLICY_NV)
def policy_nv(
    tpm: Tpm,
    auth_handle: Authority,
    nv_index: Index,
    policy_session: PolicySession,
    /,
    operand_b: TPM2B_OPERAND,
    offset: UINT16,
    operation: TPM_EO,
) -> None:
    """Require a relation between the contents of an index and an operand (23.9)."""
    if not policy_session.is_trial:
        nv.check_read(auth_handle, nv_index)
        too_long = TpmError(RC.SIZE, at="operand_b")
        operand_a = policy.operand_a(nv_index.data, offset, len(operand_b), too_long=too_long)
        policy.require_condition(operation, operand_a, operand_b)
    arguments = policy.arguments(policy_session, operand_b, offset, operation)
    policy.extend(policy_session, CC.POLICY_NV, arguments, nv_index.name)


@command(CC.POLICY_COUNTER_TIMER)
def policy_counter_timer(
    tpm: Tpm,
    policy_session: PolicySession,
    /,
    operand_b: TPM2B_OPERAND,
    offset: UINT16,
    operation: TPM_EO,
) -> None:
    """Require a relation between TPMS_TIME_INFO and an operand (23.10).

    As in libtpms, Time is compared like the rest. Version 1.83 makes TPM_EO_UNSIGNED_LT count
    seconds from the start of the session, which would change the meaning of policies in use.
    """
    info = clock.time_info(tpm).marshal()
    operand_a = policy.operand_a(info, offset, len(operand_b), too_long=TpmError(RC.RANGE))
    if not policy_session.is_trial:
        if offset < _TIME_AND_CLOCK:
            tpm.require_nv()
        policy.require_condition(operation, operand_a, operand_b)
    arguments = policy.arguments(policy_session, operand_b, offset, operation)
    policy.extend(policy_session, CC.POLICY_COUNTER_TIMER, arguments)


@command(CC.POLICY_COMMAND_CODE)
def policy_command_code(tpm: Tpm, policy_session: PolicySession, /, code: TPM_CC) -> None:
    """Require one command (23.11)."""
    state = policy.state_of(policy_session)
    if state.command_code not in (0, code):
        raise TpmError(RC.VALUE, at="code")
    if find(code, tpm.profile) is None:
        raise TpmError(RC.POLICY_CC, at="code")
    policy.extend(policy_session, CC.POLICY_COMMAND_CODE, code.to_bytes(4))
    state.command_code = code


@command(CC.POLICY_PHYSICAL_PRESENCE)
def policy_physical_presence(tpm: Tpm, policy_session: PolicySession, /) -> None:
    """Require physical presence, which nobody can assert here (23.12)."""
    policy.extend(policy_session, CC.POLICY_PHYSICAL_PRESENCE)
    policy.state_of(policy_session).physical_presence_needed = True


@command(CC.POLICY_CP_HASH)
def policy_cp_hash(tpm: Tpm, policy_session: PolicySession, /, cp_hash_a: TPM2B_DIGEST) -> None:
    """Require one command with these objects and parameters (23.13)."""
    policy.require_size(policy_session, cp_hash_a, at="cp_hash_a")
    if not policy.is_bound_to(policy_session, "cp_hash", cp_hash_a):
        policy.require_unbound(policy_session)
    policy.extend(policy_session, CC.POLICY_CP_HASH, cp_hash_a)
    policy.bind(policy_session, "cp_hash", cp_hash_a)


@command(CC.POLICY_NAME_HASH)
def policy_name_hash(tpm: Tpm, policy_session: PolicySession, /, name_hash: TPM2B_DIGEST) -> None:
    """Require these objects, whatever the command (23.14)."""
    _bind(policy_session, CC.POLICY_NAME_HASH, "name_hash", name_hash, at="name_hash")


@command(CC.POLICY_DUPLICATION_SELECT)
def policy_duplication_select(
    tpm: Tpm,
    policy_session: PolicySession,
    /,
    object_name: TPM2B_NAME,
    new_parent_name: TPM2B_NAME,
    include_object: TPMI_YES_NO,
) -> None:
    """Require the duplication of an object to one new parent (23.15)."""
    state = policy.state_of(policy_session)
    policy.require_unbound(policy_session)
    if state.command_code:
        raise TpmError(RC.COMMAND_CODE)
    policy.extend(
        policy_session,
        CC.POLICY_DUPLICATION_SELECT,
        object_name if include_object else b"",
        new_parent_name,
        include_object.to_bytes(1),
    )
    name_hash = digest(policy_session.auth_hash, object_name, new_parent_name)
    policy.bind(policy_session, "name_hash", name_hash)
    state.command_code = CC.DUPLICATE


@command(CC.POLICY_AUTHORIZE)
def policy_authorize(
    tpm: Tpm,
    policy_session: PolicySession,
    /,
    approved_policy: TPM2B_DIGEST,
    policy_ref: TPM2B_NONCE,
    key_sign: TPM2B_NAME,
    check_ticket: TPMT_TK_VERIFIED,
) -> None:
    """Accept a policy that a key has signed (23.16)."""
    name_alg = _name_alg(tpm, key_sign, at="key_sign")
    if not policy_session.is_trial:
        if approved_policy != policy.state_of(policy_session).digest:
            raise TpmError(RC.VALUE, at="approved_policy")
        message = approved_policy + policy_ref
        try:
            tickets.check_verified(
                tpm, check_ticket, message, name_alg, key_sign, at="check_ticket"
            )
        except TpmError:
            raise TpmError(RC.VALUE, at="check_ticket") from None
    policy.clear(policy_session)
    policy.update(policy_session, CC.POLICY_AUTHORIZE, key_sign, policy_ref)


@command(CC.POLICY_AUTH_VALUE)
def policy_auth_value(tpm: Tpm, policy_session: PolicySession, /) -> None:
    """Require the authValue of the entity, proven by HMAC (23.17)."""
    _require_auth_value(policy_session, password=False)


@command(CC.POLICY_PASSWORD)
def policy_password(tpm: Tpm, policy_session: PolicySession, /) -> None:
    """Require the authValue of the entity in the clear; policyDigest is as for HMAC (23.18)."""
    _require_auth_value(policy_session, password=True)


def _require_auth_value(session: Session, *, password: bool) -> None:
    policy.extend(session, CC.POLICY_AUTH_VALUE)
    state = policy.state_of(session)
    state.password_needed, state.auth_value_needed = password, not password


@command(CC.POLICY_GET_DIGEST)
def policy_get_digest(tpm: Tpm, policy_session: PolicySession, /) -> PolicyGetDigestResponse:
    """Return policyDigest (23.19)."""
    return PolicyGetDigestResponse(policy.state_of(policy_session).digest)


@command(CC.POLICY_NV_WRITTEN)
def policy_nv_written(tpm: Tpm, policy_session: PolicySession, /, written_set: TPMI_YES_NO) -> None:
    """Require that the index has or has not been written (23.20)."""
    state = policy.state_of(policy_session)
    if state.nv_written not in (None, bool(written_set)):
        raise TpmError(RC.VALUE, at="written_set")
    policy.extend(policy_session, CC.POLICY_NV_WRITTEN, written_set.to_bytes(1))
    state.nv_written = bool(written_set)


@command(CC.POLICY_TEMPLATE)
def policy_template(
    tpm: Tpm, policy_session: PolicySession, /, template_hash: TPM2B_DIGEST
) -> None:
    """Require that what is created has this public area (23.21)."""
    if policy.state_of(policy_session).bound_kind != "template":
        policy.require_unbound(policy_session)
    elif not policy.is_bound_to(policy_session, "template", template_hash):
        raise TpmError(RC.VALUE, at="template_hash")
    policy.require_size(policy_session, template_hash, at="template_hash")
    policy.extend(policy_session, CC.POLICY_TEMPLATE, template_hash)
    policy.bind(policy_session, "template", template_hash)


@command(CC.POLICY_AUTHORIZE_NV)
def policy_authorize_nv(
    tpm: Tpm, auth_handle: Authority, nv_index: Index, policy_session: PolicySession, /
) -> None:
    """Accept the policy that an index holds (23.22)."""
    if not policy_session.is_trial:
        nv.check_read(auth_handle, nv_index)
        approved, _ = TPMT_HA.unmarshal(nv_index.data, 0, tpm.profile)
        if approved.hash_alg != policy_session.auth_hash:
            raise TpmError(RC.HASH)
        if approved.digest != policy.state_of(policy_session).digest:
            raise TpmError(RC.VALUE)
    policy.clear(policy_session)
    policy.extend(policy_session, CC.POLICY_AUTHORIZE_NV, nv_index.name)


@command(CC.POLICY_CAPABILITY)
def policy_capability(
    tpm: Tpm,
    policy_session: PolicySession,
    /,
    operand_b: TPM2B_OPERAND,
    offset: UINT16,
    operation: TPM_EO,
    capability: TPM_CAP,
    property: UINT32,
) -> None:
    """Require a relation between a property of the TPM and an operand (23.23)."""
    if not policy_session.is_trial:
        commands = attributes_of_commands(tpm.profile)
        found = capabilities.octets_of(tpm, commands, capability, property)
        if found is not None:
            too_long = TpmError(RC.SIZE, at="operand_b")
            operand_a = policy.operand_a(found, offset, len(operand_b), too_long=too_long)
            policy.require_condition(operation, operand_a, operand_b)
        elif operation != EO.NEQ:
            raise TpmError(RC.POLICY)
    asked = capability.to_bytes(4) + property.to_bytes(4)
    arguments = policy.arguments(policy_session, operand_b, offset, operation, asked)
    policy.extend(policy_session, CC.POLICY_CAPABILITY, arguments)


@command(CC.POLICY_PARAMETERS)
def policy_parameters(tpm: Tpm, policy_session: PolicySession, /, p_hash: TPM2B_DIGEST) -> None:
    """Require one command with these parameters, whatever the objects (23.24)."""
    _bind(policy_session, CC.POLICY_PARAMETERS, "parameters", p_hash, at="p_hash")


@command(CC.POLICY_TRANSPORT_SPDM)
def policy_transport_spdm(
    tpm: Tpm,
    policy_session: PolicySession,
    /,
    req_key_name: TPM2B_NAME,
    tpm_key_name: TPM2B_NAME,
) -> None:
    """Require a secure channel, established with certain keys or any (23.25).

    This TPM has no secure channel, so such a policy authorizes nothing here: the Names only go into
    the digest.
    """
    state = policy.state_of(policy_session)
    if state.secure_channel_needed:
        raise TpmError(RC.VALUE)
    if req_key_name:
        _name_alg(tpm, req_key_name, at="req_key_name")
    if tpm_key_name:
        _name_alg(tpm, tpm_key_name, at="tpm_key_name")
    key_names = b""
    if req_key_name or tpm_key_name:
        sized = _write_name(req_key_name), _write_name(tpm_key_name)
        key_names = digest(policy_session.auth_hash, *sized)
    policy.extend(policy_session, CC.POLICY_TRANSPORT_SPDM, key_names)
    state.secure_channel_needed = True


def _name_alg(tpm: Tpm, name: bytes, at: str) -> int:
    """The nameAlg in an object's Name. Raises RC.HASH and RC.SIZE."""
    name_alg = int.from_bytes(name[:2])
    if name_alg not in tpm.profile.hash_algs:
        raise TpmError(RC.HASH, at=at)
    if len(name) != 2 + digest_size(name_alg):
        raise TpmError(RC.SIZE, at=at)
    return name_alg


def _bind(session: Session, code: int, kind: str, bound_hash: bytes, at: str) -> None:
    """Limit a policy that is not bound yet to commands with this hash."""
    policy.require_size(session, bound_hash, at=at)
    policy.require_unbound(session)
    policy.extend(session, code, bound_hash)
    policy.bind(session, kind, bound_hash)
