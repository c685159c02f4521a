"""Part 3, chapter 23: Enhanced Authorization, authorizations by an entity (23.2-23.5)."""

from dataclasses import dataclass
from typing import Annotated

from ..command import Auth, ReadOnly, command
from ..core import nv_pin, policy, signing, tickets
from ..core.entities import hierarchy_of
from ..rc import RC, TpmError
from ..state import Entity, LoadedObject, Session, Tpm
from ..wire.algorithms import TPMT_SIGNATURE
from ..wire.base import TPM2B_DIGEST, TPM2B_NAME, TPM2B_NONCE, TPM2B_TIMEOUT, TPMT_TK_AUTH
from ..wire.constants import CC, RH, ST
from ..wire.interface import INT32, TPMI_DH_ENTITY, TPMI_DH_OBJECT, TPMI_SH_POLICY
from ..wire.structure import Structure

PolicySession = Annotated[Session, TPMI_SH_POLICY]
_TIMEOUT_SIZE = 8
_COMMANDS: dict[int, int] = {
    ST.AUTH_SIGNED: CC.POLICY_SIGNED,
    ST.AUTH_SECRET: CC.POLICY_SECRET,
}
"""Tag of a ticket to the command that it stands for."""


class PolicyAuthorizationResponse(Structure):
    timeout: TPM2B_TIMEOUT
    policy_ticket: TPMT_TK_AUTH


@dataclass(frozen=True, slots=True)
class _Qualifiers:
    """What limits an authorization (23.3.1)."""

    nonce_tpm: bytes
    cp_hash_a: bytes
    policy_ref: bytes
    expiration: int
    """In seconds, as `policy.timeout_of` takes it; negative if a ticket is wanted."""

    @property
    def to_be_signed(self) -> bytes:
        expiration = self.expiration.to_bytes(4, signed=True)
        return self.nonce_tpm + expiration + self.cp_hash_a + self.policy_ref


@command(CC.POLICY_SIGNED)
def policy_signed(
    tpm: Tpm,
    auth_object: Annotated[LoadedObject, TPMI_DH_OBJECT],
    policy_session: PolicySession,
    /,
    nonce_tpm: TPM2B_NONCE,
    cp_hash_a: TPM2B_DIGEST,
    policy_ref: TPM2B_NONCE,
    expiration: INT32,
    auth: TPMT_SIGNATURE,
) -> PolicyAuthorizationResponse:
    """Require a signature over the qualifiers of an authorization (23.3)."""
    given = _Qualifiers(nonce_tpm, cp_hash_a, policy_ref, expiration)
    timeout = _check(tpm, policy_session, given)
    if not policy_session.is_trial:
        signing.verify_message(auth_object, auth, given.to_be_signed, at="auth")
    return _authorize(tpm, policy_session, ST.AUTH_SIGNED, auth_object, given, timeout)


@command(CC.POLICY_SECRET, read_only=ReadOnly.NO_PIN_INDEX)
def policy_secret(
    tpm: Tpm,
    auth_handle: Annotated[Entity, TPMI_DH_ENTITY, Auth.USER],
    policy_session: PolicySession,
    /,
    nonce_tpm: TPM2B_NONCE,
    cp_hash_a: TPM2B_DIGEST,
    policy_ref: TPM2B_NONCE,
    expiration: INT32,
) -> PolicyAuthorizationResponse:
    """Require the authValue of an entity (23.4)."""
    given = _Qualifiers(nonce_tpm, cp_hash_a, policy_ref, expiration)
    timeout = _check(tpm, policy_session, given)
    return _authorize(tpm, policy_session, ST.AUTH_SECRET, auth_handle, given, timeout)


@command(CC.POLICY_TICKET)
def policy_ticket(
    tpm: Tpm,
    policy_session: PolicySession,
    /,
    timeout: TPM2B_TIMEOUT,
    cp_hash_a: TPM2B_DIGEST,
    policy_ref: TPM2B_NONCE,
    auth_name: TPM2B_NAME,
    ticket: TPMT_TK_AUTH,
) -> None:
    """Accept a ticket in place of the authorization it was made for (23.5)."""
    if policy_session.is_trial:
        raise TpmError(RC.ATTRIBUTES, at="policy_session")
    if len(timeout) != _TIMEOUT_SIZE:
        raise TpmError(RC.SIZE, at="timeout")
    marked = int.from_bytes(timeout)
    expires = marked & ~policy.EXPIRES_ON_RESET
    policy.check_qualifiers(tpm, policy_session, expires, cp_hash_a, timeout_at="timeout")
    tickets.check_authorization(
        tpm,
        ticket,
        expires,
        "ticket",
        expires_on_reset=expires != marked,
        cp_hash=cp_hash_a,
        policy_ref=policy_ref,
        auth_name=auth_name,
    )
    policy.record_authorization(
        policy_session, _COMMANDS[ticket.tag], auth_name, policy_ref, cp_hash_a, expires
    )


def _check(tpm: Tpm, session: Session, given: _Qualifiers) -> int:
    """Check an authorization against the session and return its timeout; a trial has none."""
    if session.is_trial:
        return 0
    if given.nonce_tpm and given.nonce_tpm != session.nonce_tpm:
        raise TpmError(RC.NONCE, at="nonce_tpm")
    timeout = policy.timeout_of(tpm, session, given.expiration, given.nonce_tpm)
    policy.check_qualifiers(tpm, session, timeout, given.cp_hash_a, timeout_at="expiration")
    return timeout


def _authorize(
    tpm: Tpm, session: Session, tag: int, entity: Entity, given: _Qualifiers, timeout: int
) -> PolicyAuthorizationResponse:
    """Record an authorization; the response holds a ticket if one is wanted and it was proven.

    A PIN Pass index never gives a ticket, which would allow more uses than the index counts.
    """
    policy.record_authorization(
        session, _COMMANDS[tag], entity.name, given.policy_ref, given.cp_hash_a, timeout
    )
    if given.expiration >= 0 or session.is_trial or nv_pin.is_pin_pass(entity):
        return PolicyAuthorizationResponse(b"", TPMT_TK_AUTH(tag, RH.NULL, b""))
    absolute = not given.nonce_tpm
    proof = tickets.authorization(
        tpm,
        tag,
        hierarchy_of(entity),
        timeout,
        expires_on_reset=absolute,
        cp_hash=given.cp_hash_a,
        policy_ref=given.policy_ref,
        auth_name=entity.name,
    )
    marked = timeout | policy.EXPIRES_ON_RESET if absolute else timeout
    return PolicyAuthorizationResponse(marked.to_bytes(_TIMEOUT_SIZE), proof)
