"""Responses (Part 3, 5.9 and clause 6)."""

from .call import HEADER, Call, PasswordUse, SessionUse
from .core import audit, sessions
from .crypto.hashes import digest
from .rc import RC
from .state import Tpm
from .wire.attributes import TPMA_SESSION
from .wire.constants import ST

_NO_SESSIONS, _SESSIONS, _SUCCESS = int(ST.NO_SESSIONS), int(ST.SESSIONS), int(RC.SUCCESS)
_pack, _HEADER_SIZE = HEADER.pack, HEADER.size
_PASSWORD_ACKNOWLEDGMENT = bytes((0, 0, TPMA_SESSION.CONTINUE_SESSION, 0, 0))


def error_response(code: int) -> bytes:
    """The ten octets that answer a failed command (Part 3, 6.1).

    A wrong tag gets the same response: firmware would take the tag that Part 3 requires of a TPM
    with TPM 1.2 compatibility for a sign of a TPM 1.2.
    """
    return HEADER.pack(_NO_SESSIONS, HEADER.size, code)


def frame_response(tpm: Tpm, call: Call) -> bytes:
    """Roll nonces, encrypt, audit, acknowledge.

    The first parameter is encrypted after the nonces have changed and before rpHash is computed.
    """
    for use in call.sessions:
        use.session.nonce_tpm = tpm.random(len(use.session.nonce_tpm))
    if call.encrypting is not None:
        _encrypt_parameter(call, call.encrypting)
    if call.auditing is not None:
        _audit_session(tpm, call, call.auditing)
    elif call.spec.sessions:
        audit.end_exclusive(tpm)
    if call.audit_alg is not None:
        _audit_command(tpm, call, call.audit_alg)
    if not call.has_sessions:
        body = call.handle_area + call.response
        return _pack(_NO_SESSIONS, _HEADER_SIZE + len(body), _SUCCESS) + body
    size = len(call.response).to_bytes(4)
    body = b"".join((call.handle_area, size, call.response, _acknowledgments(tpm, call)))
    return _pack(_SESSIONS, _HEADER_SIZE + len(body), _SUCCESS) + body


def _encrypt_parameter(call: Call, use: SessionUse) -> None:
    call.response = sessions.encrypt_parameter(
        use.session, use.encryption_key(), use.nonce_caller, call.response
    )


def _audit_session(tpm: Tpm, call: Call, use: SessionUse) -> None:
    """Extend the digest of session audit (Part 1, 17.1)."""
    alg = use.session.auth_hash
    restart = use.has(TPMA_SESSION.AUDIT_RESET)
    hashes = call.request().cp_hash(alg), _rp_hash(call, alg)
    audit.extend_session(tpm, use.session, *hashes, restart=restart)


def _audit_command(tpm: Tpm, call: Call, alg: int) -> None:
    """Extend the digest of command audit (Part 1, clause 32)."""
    audit.extend(tpm, alg, call.request().cp_hash(alg), _rp_hash(call, alg))


def _rp_hash(call: Call, alg: int) -> bytes:
    """rpHash (Part 1, 15.8)."""
    return digest(alg, bytes(4), call.spec.code.to_bytes(4), call.response)


def _acknowledgments(tpm: Tpm, call: Call) -> bytes:
    if not call.sessions:
        return _PASSWORD_ACKNOWLEDGMENT * len(call.uses)
    acknowledgments = b""
    for use in call.uses:
        acknowledgments += _acknowledge(tpm, call, use)
    return acknowledgments


def _acknowledge(tpm: Tpm, call: Call, use: PasswordUse | SessionUse) -> bytes:
    """TPMS_AUTH_RESPONSE; ends a session without continueSession."""
    if isinstance(use, PasswordUse):
        return _PASSWORD_ACKNOWLEDGMENT
    session = use.session
    attributes = use.attributes & ~TPMA_SESSION.AUDIT_EXCLUSIVE
    if use is call.auditing and audit.is_exclusive(tpm, session):
        attributes |= TPMA_SESSION.AUDIT_EXCLUSIVE
    proof = _hmac(call, use, attributes)
    if session.policy is not None:
        sessions.renew_policy(tpm, session)
    if not use.has(TPMA_SESSION.CONTINUE_SESSION):
        sessions.flush(tpm, session.handle)
    nonce = session.nonce_tpm
    return b"".join(
        (len(nonce).to_bytes(2), nonce, bytes((attributes,)), len(proof).to_bytes(2), proof)
    )


def _hmac(call: Call, use: SessionUse, attributes: int) -> bytes:
    if use.is_password():
        return b""
    session, key = use.session, use.hmac_key()
    if use.lacks_hmac(key):
        return b""
    rp_hash = _rp_hash(call, session.auth_hash)
    return sessions.hmac_of(
        session, key, rp_hash, session.nonce_tpm, use.nonce_caller, b"", attributes
    )
