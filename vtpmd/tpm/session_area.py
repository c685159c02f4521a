"""The authorization area of a command: its sessions and their proofs (Part 3, 5.5 to 5.7)."""

from .call import EXTRA_USE, Call, PasswordUse, SessionUse
from .core import audit, dictionary_attack, nv_pin, sessions
from .core.authorization import authorize, authorize_by_password
from .core.command_spec import Auth, CommandSpec
from .rc import RC, TpmError
from .state import Entity, NvIndex, Session, Tpm
from .wire.attributes import TPMA_SESSION
from .wire.base import TPMS_AUTH_COMMAND
from .wire.constants import ALG, RH

MAX_SESSIONS = 3
# Looking up a member of an Enum takes 0.1 µs in Python 3.11: many commands need these.
_PASSWORD, _NO_ROLE = int(RH.RS_PW), Auth.NONE
MINIMUM_SIZE = 9
"""Octets of an authorization without nonce and proof."""
_EMPTY_PASSWORDS = frozenset(
    MINIMUM_SIZE.to_bytes(4) + RH.RS_PW.to_bytes(4) + bytes((0, 0, attributes, 0, 0))
    for attributes in (0, TPMA_SESSION.CONTINUE_SESSION)
)
"""Authorization areas, with their size, of one password that is empty: those of most commands."""
_EMPTY_PASSWORD = (PasswordUse(b""),)
_EXCLUSIVE_OR_RESET = TPMA_SESSION.AUDIT_EXCLUSIVE | TPMA_SESSION.AUDIT_RESET
_ANY_EXTRA = EXTRA_USE | _EXCLUSIVE_OR_RESET


def parse_sessions(tpm: Tpm, call: Call) -> None:
    """Read the authorization area and the use of each session (Part 3, 5.5).

    As in libtpms, a size out of range is RC.SIZE and not RC.AUTHSIZE.
    """
    buffer, offset = call.buffer, call.offset
    start = offset + 4
    if call.spec.sessions and buffer[offset : start + MINIMUM_SIZE] in _EMPTY_PASSWORDS:
        call.uses = _EMPTY_PASSWORD
        call.offset = start + MINIMUM_SIZE
        return
    if start > len(buffer):
        raise TpmError(RC.INSUFFICIENT)
    end = call.offset = start + int.from_bytes(buffer[offset:start])
    if end - start < MINIMUM_SIZE or end > len(buffer):
        raise TpmError(RC.SIZE)
    if not call.spec.sessions:
        raise TpmError(RC.AUTH_CONTEXT)
    _read_uses(tpm, call, buffer[start:end])


def _read_uses(tpm: Tpm, call: Call, area: bytes) -> None:
    uses: list[PasswordUse | SessionUse] = []
    found: list[SessionUse] = []
    call.uses, call.sessions = uses, found
    offset = 0
    while offset < len(area):
        number = len(uses) + 1
        try:
            if number > MAX_SESSIONS:
                raise TpmError(RC.SIZE)
            given, offset = TPMS_AUTH_COMMAND.unmarshal(area, offset, tpm.profile)
            if given.session_handle == _PASSWORD:
                uses.append(_password(given))
            else:
                found.append(_session(tpm, call, given))
                uses.append(found[-1])
        except TpmError as error:
            raise error.session(number) from None


def _password(given: TPMS_AUTH_COMMAND) -> PasswordUse:
    if given.session_attributes & _ANY_EXTRA:
        raise TpmError(RC.ATTRIBUTES)
    if given.nonce:
        raise TpmError(RC.NONCE)
    return PasswordUse(given.hmac)


def _session(tpm: Tpm, call: Call, given: TPMS_AUTH_COMMAND) -> SessionUse:
    session = sessions.find(tpm, given.session_handle)
    if session is None:
        raise TpmError(RC.REFERENCE_S0 + len(call.uses))
    if session.handle != given.session_handle:
        raise TpmError(RC.HANDLE)
    if call.sessions and any(other.session is session for other in call.sessions):
        raise TpmError(RC.HANDLE)
    use = SessionUse(session, given.nonce, given.session_attributes, given.hmac)
    if given.session_attributes & _ANY_EXTRA:
        _note_extra_use(tpm, call, use)
    return use


def _require_symmetric(use: SessionUse, *, permitted: bool) -> None:
    if not permitted:
        raise TpmError(RC.ATTRIBUTES)
    if use.session.symmetric_alg == ALG.NULL:
        raise TpmError(RC.SYMMETRIC)


def _note_extra_use(tpm: Tpm, call: Call, use: SessionUse) -> None:
    if use.has(TPMA_SESSION.DECRYPT):
        _require_symmetric(use, permitted=call.spec.decrypt and call.decrypting is None)
        call.decrypting = use
    if use.has(TPMA_SESSION.ENCRYPT):
        _require_symmetric(use, permitted=call.spec.encrypt and call.encrypting is None)
        call.encrypting = use
    if use.has(TPMA_SESSION.AUDIT):
        if call.auditing is not None or use.session.policy is not None:
            raise TpmError(RC.ATTRIBUTES)
        _check_exclusive(tpm, use)
        call.auditing = use
    elif use.has(_EXCLUSIVE_OR_RESET):
        raise TpmError(RC.ATTRIBUTES)


def _check_exclusive(tpm: Tpm, use: SessionUse) -> None:
    """With auditExclusive, a continuing audit session must be the exclusive one (Part 1, 17.3).

    A session that starts or resets its audit becomes exclusive. It passes as in the reference
    implementation, although it fails according to Part 1, 15.6.4.
    """
    if not use.has(TPMA_SESSION.AUDIT_EXCLUSIVE):
        return
    goes_on = use.session.is_audit and not use.has(TPMA_SESSION.AUDIT_RESET)
    if goes_on and not audit.is_exclusive(tpm, use.session):
        raise TpmError(RC.EXCLUSIVE)


def authorize_handles(tpm: Tpm, call: Call) -> None:
    """Assign authorizations to handles in order, and check each of them (Part 3, 5.6)."""
    spec = call.spec
    if spec.authorizations > len(call.uses):
        raise TpmError(RC.AUTH_MISSING)
    position = 0
    try:
        for position, use in enumerate(call.uses):
            entity, role = None, _NO_ROLE
            if position < spec.authorizations:
                entity, role = call.entities[position], spec.handles[position].auth
            if isinstance(use, PasswordUse):
                _check_password(tpm, spec, entity, role, use.proof)
            else:
                use.entity = entity
                _check_session(tpm, call, use, role)
    except TpmError as error:
        raise error.session(position + 1) from None


def _check_password(
    tpm: Tpm, spec: CommandSpec, entity: Entity | None, role: Auth, password: bytes
) -> None:
    if entity is None:  # there are more authorizations than handles need
        raise TpmError(RC.HANDLE)
    authorize_by_password(tpm, spec, entity, role)
    proven = sessions.is_auth_value(entity.auth_value, password)
    if not proven or isinstance(entity, NvIndex):
        _record_try(tpm, entity, None, used=True, proven=proven)


def _check_session(tpm: Tpm, call: Call, use: SessionUse, role: Auth) -> None:
    session = use.session
    if session.is_trial:
        raise TpmError(RC.ATTRIBUTES)
    if session.is_da_bound:
        dictionary_attack.begin_use(tpm, is_lockout=session.is_lockout_bound)
    if use.entity is not None:
        use.proves_auth_value = authorize(tpm, call.request(), use.entity, role, session)
    elif not use.has(EXTRA_USE):
        raise TpmError(RC.ATTRIBUTES)
    proven = _is_proven(call, use)
    _record_try(tpm, use.entity, session, used=use.proves_auth_value, proven=proven)


def _is_proven(call: Call, use: SessionUse) -> bool:
    session = use.session
    if use.entity is not None and use.is_password():
        return sessions.is_auth_value(use.entity.auth_value, use.proof)
    key = use.hmac_key()
    if use.lacks_hmac(key):
        return True
    expected = sessions.hmac_of(
        session,
        key,
        call.request().cp_hash(session.auth_hash),
        use.nonce_caller,
        session.nonce_tpm,
        _other_nonces(call, use),
        use.attributes,
    )
    return sessions.matches(expected, use.proof)


def _other_nonces(call: Call, use: SessionUse) -> bytes:
    """nonceTPM of the other sessions that encrypt, for the first if it authorizes (16.6.5)."""
    if call.decrypting is call.encrypting is None:
        return b""
    if use is not call.uses[0] or use.entity is None:
        return b""
    others = [call.decrypting]
    if call.encrypting is not call.decrypting:
        others.append(call.encrypting)
    return b"".join(
        other.session.nonce_tpm for other in others if other is not None and other is not use
    )


def _record_try(
    tpm: Tpm, entity: Entity | None, session: Session | None, *, used: bool, proven: bool
) -> None:
    """Count the try if the entity or the TPM counts tries; raise unless it was right."""
    if used and isinstance(entity, NvIndex):
        nv_pin.end_use(tpm, entity, proven=proven)
    if not proven:
        raise TpmError(dictionary_attack.register_failure(tpm, entity, session, used=used))


def decrypt_parameter(call: Call, use: SessionUse) -> None:
    """Decrypt the first parameter (Part 3, 5.7); `request` keeps what was received."""
    try:
        parameters = sessions.decrypt_parameter(
            use.session, use.encryption_key(), use.nonce_caller, call.request().parameters
        )
    except TpmError as error:
        raise error.session(call.uses.index(use) + 1) from None
    call.buffer = call.buffer[: call.offset] + parameters
