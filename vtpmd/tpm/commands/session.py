"""Part 3, chapter 11: Session Commands."""

from typing import Annotated

from ..command import ResponseHandle, command
from ..core import nv_pin, objects, sessions, shared_seeds
from ..crypto.hashes import digest_size
from ..crypto.kdf import kdfa
from ..crypto.labelled import SECRET
from ..rc import RC, TpmError
from ..state import Entity, LoadedObject, Session, Tpm
from ..wire.algorithms import TPM2B_ENCRYPTED_SECRET, TPMT_SYM_DEF, TPMT_SYM_DEF_NULL
from ..wire.attributes import TPMA_OBJECT
from ..wire.base import TPM2B_NONCE
from ..wire.constants import ALG, CC, RH, SE
from ..wire.interface import (
    TPM_SE,
    TPMI_ALG_HASH,
    TPMI_DH_ENTITY_NULL,
    TPMI_DH_OBJECT_NULL,
    TPMI_SH_AUTH_SESSION,
    TPMI_SH_POLICY,
)
from ..wire.structure import Structure

MINIMUM_NONCE_SIZE = 16


class StartAuthSessionResponse(Structure):
    session_handle: Annotated[TPMI_SH_AUTH_SESSION, ResponseHandle]
    nonce_tpm: TPM2B_NONCE


@command(CC.START_AUTH_SESSION)
def start_auth_session(
    tpm: Tpm,
    tpm_key: Annotated[LoadedObject | None, TPMI_DH_OBJECT_NULL],
    bind: Annotated[Entity | None, TPMI_DH_ENTITY_NULL],
    /,
    nonce_caller: TPM2B_NONCE,
    encrypted_salt: TPM2B_ENCRYPTED_SECRET,
    session_type: TPM_SE,
    symmetric: TPMT_SYM_DEF_NULL,
    auth_hash: TPMI_ALG_HASH,
) -> StartAuthSessionResponse:
    """Start an HMAC, policy or trial session, optionally salted and bound (11.1)."""
    if not MINIMUM_NONCE_SIZE <= len(nonce_caller) <= digest_size(auth_hash):
        raise TpmError(RC.SIZE, at="nonce_caller")
    salt = _salt(tpm, tpm_key, encrypted_salt)
    _check_bind(bind)
    _check_symmetric(symmetric)
    session = sessions.start(
        tpm,
        session_type,
        auth_hash,
        symmetric.algorithm,
        symmetric.key_bits or 0,
        len(nonce_caller),
    )
    if bind is not None or tpm_key is not None:
        key = (bind.auth_value if bind is not None else b"") + salt
        bits = digest_size(auth_hash) * 8
        session.session_key = kdfa(auth_hash, key, b"ATH", session.nonce_tpm, nonce_caller, bits)
    if bind is not None:
        _bind(session, bind)
    return StartAuthSessionResponse(session.handle, session.nonce_tpm)


@command(CC.POLICY_RESTART)
def policy_restart(tpm: Tpm, session_handle: Annotated[Session, TPMI_SH_POLICY], /) -> None:
    """Return a policy session to its initial state (11.2)."""
    sessions.restart_policy(session_handle)


def _salt(tpm: Tpm, key: LoadedObject | None, encrypted_salt: bytes) -> bytes:
    if key is None:
        if encrypted_salt:
            raise TpmError(RC.VALUE, at="encrypted_salt")
        return b""
    if key.public.type not in objects.SHARING_SEEDS:
        raise TpmError(RC.KEY, at="tpm_key")
    if not encrypted_salt:
        raise TpmError(RC.VALUE, at="encrypted_salt")
    if key.sensitive is None:
        raise TpmError(RC.HANDLE, at="tpm_key")
    if not key.public.object_attributes & TPMA_OBJECT.DECRYPT:
        raise TpmError(RC.ATTRIBUTES, at="tpm_key")
    try:
        return shared_seeds.decapsulate(tpm, key, SECRET, encrypted_salt)
    except TpmError:
        raise TpmError(RC.VALUE, at="encrypted_salt") from None


def _check_bind(bind: Entity | None) -> None:
    """Refuse to bind to an authValue that is unknown or whose uses are counted."""
    if bind is None:
        return
    is_public = isinstance(bind, LoadedObject) and bind.sensitive is None and bind.sequence is None
    if is_public or nv_pin.is_pin(bind):
        raise TpmError(RC.HANDLE, at="bind")


def _check_symmetric(symmetric: TPMT_SYM_DEF) -> None:
    if symmetric.algorithm not in (ALG.NULL, ALG.XOR) and symmetric.mode != ALG.CFB:
        raise TpmError(RC.MODE, at="symmetric")


def _bind(session: Session, entity: Entity) -> None:
    """Record the entity an HMAC session is bound to, and dictionary attack protection."""
    if session.type == SE.HMAC:
        session.is_bound = True
        session.bound_name = entity.name
        session.bound_auth_value = entity.auth_value
    session.is_da_bound = entity.is_da_protected()
    session.is_lockout_bound = entity.handle == RH.LOCKOUT
