"""Sessions: keys, HMACs, parameter encryption, audit (Part 1, clauses 17 to 19 and 21)."""

import hmac as constant_time

from ..crypto import kdf, symmetric
from ..crypto.hashes import digest, digest_size, hmac
from ..rc import RC, TpmError
from ..state import MAX_ACTIVE_SESSIONS, MAX_LOADED_SESSIONS, PolicyState, Session, Tpm
from ..wire.constants import ALG, HT, SE

_TYPES = (HT.HMAC_SESSION ^ HT.POLICY_SESSION) << 24
"""HMAC and policy sessions are numbered together: a number has one type at a time."""


def hmac_of(
    session: Session,
    auth_value: bytes,
    parameter_hash: bytes,
    nonce_newer: bytes,
    nonce_older: bytes,
    other_nonces: bytes,
    attributes: int,
    *,
    may_be_empty: bool,
) -> bytes:
    """The HMAC of a session in a command or a response (Part 1, 19.6.9).

    ``auth_value`` is empty where it does not take part. Without any key the HMAC is empty if it
    ``may_be_empty``: the caller, who may as well use a key of no octets, has sent none.
    """
    key = session.session_key + auth_value
    if not key and may_be_empty:
        return b""
    return hmac(
        session.auth_hash,
        key,
        parameter_hash,
        nonce_newer,
        nonce_older,
        other_nonces,
        bytes((attributes,)),
    )


def decrypt_parameter(
    session: Session, auth_value: bytes, nonce_caller: bytes, parameters: bytes
) -> bytes:
    """The parameter area with its first TPM2B decrypted (Part 1, clause 21). RC.SIZE."""
    return _crypt(session, auth_value, nonce_caller, session.nonce_tpm, parameters, encrypt=False)


def encrypt_parameter(
    session: Session, auth_value: bytes, nonce_caller: bytes, parameters: bytes
) -> bytes:
    """The response's parameter area with its first TPM2B encrypted (Part 1, clause 21)."""
    return _crypt(session, auth_value, session.nonce_tpm, nonce_caller, parameters, encrypt=True)


def _crypt(
    session: Session,
    auth_value: bytes,
    nonce_newer: bytes,
    nonce_older: bytes,
    parameters: bytes,
    *,
    encrypt: bool,
) -> bytes:
    end = 2 + int.from_bytes(parameters[:2])
    if end > len(parameters):
        raise TpmError(RC.SIZE)
    key, data = session.session_key + auth_value, parameters[2:end]
    if session.symmetric_alg == ALG.XOR:
        data = kdf.xor_obfuscation(session.symmetric_bits, key, nonce_newer, nonce_older, data)
    else:
        alg, key_size = session.symmetric_alg, session.symmetric_bits // 8
        size = key_size + symmetric.block_size(alg)
        derived = kdf.kdfa(session.auth_hash, key, b"CFB", nonce_newer, nonce_older, size * 8)
        crypt = symmetric.cfb_encrypt if encrypt else symmetric.cfb_decrypt
        data = crypt(alg, derived[:key_size], derived[key_size:], data)
    return parameters[:2] + data + parameters[end:]


def start(
    tpm: Tpm,
    session_type: int,
    auth_hash: int,
    symmetric_alg: int,
    symmetric_bits: int,
    nonce_size: int,
) -> Session:
    """Create and load a session, unbound and without a key.

    Raises TpmError(RC.SESSION_MEMORY), RC.SESSION_HANDLES.
    """
    require_slot(tpm)
    active = {*tpm.volatile.sessions, *tpm.reset.saved_sessions}
    if len(active) >= MAX_ACTIVE_SESSIONS:
        raise TpmError(RC.SESSION_HANDLES)
    numbers = {handle & 0xFFFFFF for handle in active}
    number = next(n for n in range(MAX_ACTIVE_SESSIONS) if n not in numbers)
    kind = HT.HMAC_SESSION if session_type == SE.HMAC else HT.POLICY_SESSION
    session = Session(
        handle=kind << 24 | number,
        type=session_type,
        auth_hash=auth_hash,
        nonce_tpm=tpm.random(nonce_size),
        session_key=b"",
        symmetric_alg=symmetric_alg,
        symmetric_bits=symmetric_bits,
        start_time=tpm.volatile.time,
        epoch=tpm.volatile.time_epoch,
        policy=None if session_type == SE.HMAC else PolicyState(bytes(digest_size(auth_hash))),
    )
    tpm.volatile.sessions[session.handle] = session
    return session


def find(tpm: Tpm, handle: int) -> Session | None:
    """The loaded session with the number of this handle, which may be of the other type."""
    loaded = tpm.volatile.sessions
    return loaded.get(handle) or loaded.get(handle ^ _TYPES)


def active_handle(tpm: Tpm, handle: int) -> int | None:
    """The handle of the session with this number, loaded or saved, whatever its type."""
    for found in (handle, handle ^ _TYPES):
        if found in tpm.volatile.sessions or found in tpm.reset.saved_sessions:
            return found
    return None


def require_slot(tpm: Tpm) -> None:
    """Raise RC.SESSION_MEMORY if no further session can be loaded."""
    if len(tpm.volatile.sessions) >= MAX_LOADED_SESSIONS:
        raise TpmError(RC.SESSION_MEMORY)


def restart_policy(session: Session) -> None:
    """Forget what a policy session has asserted (Part 3, 11.2)."""
    session.policy = PolicyState(bytes(digest_size(session.auth_hash)))


def renew_policy(tpm: Tpm, session: Session) -> None:
    """Begin anew with the new nonceTPM of a policy session: its time is counted from here."""
    restart_policy(session)
    session.start_time = tpm.volatile.time
    session.epoch = tpm.volatile.time_epoch


def flush(tpm: Tpm, handle: int) -> None:
    """Forget a session, loaded or saved. It must exist."""
    tpm.volatile.sessions.pop(handle, None)
    tpm.reset.saved_sessions.pop(handle, None)
    if tpm.volatile.exclusive_audit_session == handle:
        tpm.volatile.exclusive_audit_session = None


def extend_audit(
    tpm: Tpm, session: Session, cp_hash: bytes, rp_hash: bytes, *, restart: bool
) -> None:
    """Add a command that succeeded to a session's audit digest (Part 1, 17.1 and 17.2)."""
    if restart or not session.is_audit:
        session.is_audit = True
        session.audit_digest = bytes(digest_size(session.auth_hash))
        session.is_bound = False
        tpm.volatile.exclusive_audit_session = session.handle
    session.audit_digest = digest(session.auth_hash, session.audit_digest, cp_hash, rp_hash)


def matches(expected: bytes, given: bytes) -> bool:
    """Compare two HMACs or passwords in constant time."""
    return constant_time.compare_digest(expected, given)
