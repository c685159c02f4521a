"""Sessions: slots, HMACs and parameter encryption (Part 1, clauses 16 and 18)."""

from hmac import compare_digest

from ..crypto import kdf, symmetric
from ..crypto.hashes import HmacKey, digest_size
from ..rc import RC, TpmError
from ..state import MAX_ACTIVE_SESSIONS, MAX_LOADED_SESSIONS, PolicyState, Session, Tpm
from ..wire.constants import ALG, HT, SE

_TYPES = (HT.HMAC_SESSION ^ HT.POLICY_SESSION) << 24
"""HMAC and policy sessions share their numbers: a number has one type at a time."""


def hmac_of(
    session: Session,
    key: bytes,
    parameter_hash: bytes,
    nonce_newer: bytes,
    nonce_older: bytes,
    other_nonces: bytes,
    attributes: int,
) -> bytes:
    """authHMAC of a session in a command or a response (Part 1, 16.6.5)."""
    if session.hmac_key is None or not session.hmac_key.has(key):
        session.hmac_key = HmacKey(session.auth_hash, key)
    return session.hmac_key.hmac(
        parameter_hash, nonce_newer, nonce_older, other_nonces, bytes((attributes,))
    )


def decrypt_parameter(
    session: Session, key: bytes, nonce_caller: bytes, parameters: bytes
) -> bytes:
    """The parameter area with its first TPM2B decrypted (Part 1, clause 18).

    `key` is sessionValue. Raises RC.INSUFFICIENT, RC.SIZE for a TPM2B that is cut short.
    """
    return _crypt(session, key, nonce_caller, session.nonce_tpm, parameters, encrypt=False)


def encrypt_parameter(
    session: Session, key: bytes, nonce_caller: bytes, parameters: bytes
) -> bytes:
    """The response's parameter area with its first TPM2B encrypted (Part 1, clause 18)."""
    return _crypt(session, key, session.nonce_tpm, nonce_caller, parameters, encrypt=True)


def _crypt(
    session: Session,
    key: bytes,
    nonce_newer: bytes,
    nonce_older: bytes,
    parameters: bytes,
    *,
    encrypt: bool,
) -> bytes:
    if len(parameters) < 2:
        raise TpmError(RC.INSUFFICIENT)
    end = 2 + int.from_bytes(parameters[:2])
    if end > len(parameters):
        raise TpmError(RC.SIZE)
    data = parameters[2:end]
    if session.symmetric_alg == ALG.XOR:
        data = kdf.xor_obfuscation(session.auth_hash, key, nonce_newer, nonce_older, data)
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
    """Remove all assertions of a policy session (Part 3, 11.2)."""
    session.policy = PolicyState(bytes(digest_size(session.auth_hash)))


def renew_policy(tpm: Tpm, session: Session) -> None:
    """Restart a policy session with its new nonceTPM, from which its time counts."""
    restart_policy(session)
    session.start_time = tpm.volatile.time
    session.epoch = tpm.volatile.time_epoch


def flush(tpm: Tpm, handle: int) -> None:
    """Remove a session, loaded or saved, that exists."""
    tpm.volatile.sessions.pop(handle, None)
    tpm.reset.saved_sessions.pop(handle, None)
    if tpm.volatile.exclusive_audit_session == handle:
        tpm.volatile.exclusive_audit_session = None


def matches(expected: bytes, given: bytes) -> bool:
    """Compare two HMACs in constant time."""
    return compare_digest(expected, given)


def is_auth_value(auth_value: bytes, password: bytes) -> bool:
    """Whether a password equals an authValue, apart from trailing zeros (Part 1, 16.4)."""
    return compare_digest(auth_value, password.rstrip(b"\0"))
