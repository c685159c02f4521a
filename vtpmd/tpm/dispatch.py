"""Command processing in the order of Part 3, clause 5.

Each stage is a function that reads and fills a `Call`; `execute` names them in order.
"""

from dataclasses import dataclass, field
from struct import Struct
from typing import Any

from .command import COMMANDS, CommandSpec
from .core import audit, dictionary_attack, nv_pin, power, read_only, sessions
from .core.authorization import Auth, Request, authorize
from .core.entities import resolve
from .crypto.hashes import digest
from .rc import RC, TpmError
from .state import Entity, Session, Tpm
from .wire.attributes import TPMA_SESSION
from .wire.base import TPMS_AUTH_COMMAND
from .wire.constants import ALG, CC, RH, ST
from .wire.limits import MAX_COMMAND_SIZE

HEADER = Struct(">HII")
MAX_SESSIONS = 3
MINIMUM_AUTHORIZATION_SIZE = 9
_EXTRA_USE = TPMA_SESSION.DECRYPT | TPMA_SESSION.ENCRYPT | TPMA_SESSION.AUDIT
_EXCLUSIVE_OR_RESET = TPMA_SESSION.AUDIT_EXCLUSIVE | TPMA_SESSION.AUDIT_RESET
_PASSWORD_ANSWER = bytes((0, 0, TPMA_SESSION.CONTINUE_SESSION, 0, 0))


@dataclass(slots=True)
class SessionUse:
    """One session of the command in flight; ``session`` is None for a password."""

    session: Session | None
    nonce_caller: bytes
    attributes: int
    hmac: bytes
    entity: Entity | None = None
    """What it authorizes, if anything."""
    role: Auth = Auth.NONE
    proves_auth_value: bool = False

    def has(self, attribute: int) -> bool:
        """Whether a TPMA_SESSION bit is SET."""
        return bool(self.attributes & attribute)

    @property
    def hmac_auth_value(self) -> bytes:
        """The part of the HMAC key that comes from the entity."""
        if self.proves_auth_value and self.entity is not None:
            return self.entity.auth_value
        return b""

    @property
    def encryption_auth_value(self) -> bytes:
        """The part of a parameter encryption key that comes from the entity (Part 1, 21.2)."""
        return self.entity.auth_value if self.entity is not None else b""


@dataclass(slots=True)
class Call:
    """One command in flight."""

    spec: CommandSpec
    tag: int
    buffer: bytes
    offset: int
    entities: list[Any] = field(default_factory=list)
    uses: list[SessionUse] = field(default_factory=list)
    decrypting: SessionUse | None = None
    encrypting: SessionUse | None = None
    auditing: SessionUse | None = None
    request: Request = field(init=False)
    parameters: bytes = b""
    """The parameter area, decrypted."""
    arguments: list[Any] = field(default_factory=list)
    handle_area: bytes = b""
    response: bytes = b""


def execute(tpm: Tpm, command: bytes) -> bytes:
    """Run one command and return its response. Raises only for defects of the engine."""
    try:
        call = parse_header(tpm, command)
        parse_handles(tpm, call)
        parse_sessions(tpm, call)
        authorize_handles(tpm, call)
        audit.check(tpm, call.spec.code)
        decrypt_parameter(call)
        parse_parameters(tpm, call)
        run_action(tpm, call)
        return frame_response(tpm, call)
    except TpmError as error:
        return error_response(error.code)


def error_response(code: int) -> bytes:
    """The ten octets that answer a failed command (Part 3, 6.1).

    A wrong tag is answered so too: firmware takes the tag that Part 3 has for a TPM with TPM 1.2
    compatibility as the sign of a TPM 1.2.
    """
    return HEADER.pack(ST.NO_SESSIONS, HEADER.size, code)


def parse_header(tpm: Tpm, command: bytes) -> Call:
    """Header and mode checks (Part 3, 5.2 and 5.3)."""
    if len(command) < HEADER.size:
        raise TpmError(RC.INSUFFICIENT)
    tag, size, code = HEADER.unpack_from(command)
    if tag not in (ST.NO_SESSIONS, ST.SESSIONS):
        raise TpmError(RC.BAD_TAG)
    if size != len(command) or size > MAX_COMMAND_SIZE:
        raise TpmError(RC.COMMAND_SIZE)
    if tpm.failed and (
        tag != ST.NO_SESSIONS or code not in (CC.GET_TEST_RESULT, CC.GET_CAPABILITY)
    ):
        raise TpmError(RC.FAILURE)
    spec = COMMANDS.get(code)
    if spec is None or not tpm.profile.allows_command(code):
        raise TpmError(RC.COMMAND_CODE)
    if tpm.volatile.started is (code == CC.STARTUP) and not tpm.failed:
        raise TpmError(RC.INITIALIZE)
    return Call(spec, tag, command, HEADER.size)


def parse_handles(tpm: Tpm, call: Call) -> None:
    """The handle area (Part 3, 5.4): all handles are read before any is looked up."""
    values = []
    for number, handle in enumerate(call.spec.handles, 1):
        try:
            value, call.offset = handle.read(call.buffer, call.offset, tpm.profile)
        except TpmError as error:
            raise error.handle(number) from None
        values.append(value)
    code = call.spec.code
    call.entities = [resolve(tpm, value, number, code) for number, value in enumerate(values, 1)]
    read_only.check(tpm, call.spec.code, call.entities)


def parse_sessions(tpm: Tpm, call: Call) -> None:
    """The authorization area (Part 3, 5.5), and which session does what."""
    if call.tag == ST.NO_SESSIONS:
        if call.spec.authorizations:
            raise TpmError(RC.AUTH_MISSING)
        call.parameters = call.buffer[call.offset :]
        _fill_request(call)
        return
    area = call.buffer[call.offset : call.offset + 4]
    if len(area) < 4:
        raise TpmError(RC.INSUFFICIENT)
    start = call.offset + 4
    end = start + int.from_bytes(area)
    if end - start < MINIMUM_AUTHORIZATION_SIZE or end > len(call.buffer):
        raise TpmError(RC.SIZE)
    if not call.spec.sessions:
        raise TpmError(RC.AUTH_CONTEXT)
    area, offset = call.buffer[start:end], 0
    while offset < len(area):
        number = len(call.uses) + 1
        try:
            if number > MAX_SESSIONS:
                raise TpmError(RC.SIZE)
            given, offset = TPMS_AUTH_COMMAND.unmarshal(area, offset, tpm.profile)
            _add_session(tpm, call, given, number)
        except TpmError as error:
            raise error.session(number) from None
    call.parameters = call.buffer[end:]
    _fill_request(call)


def _fill_request(call: Call) -> None:
    names = tuple([entity.name for entity in call.entities])
    call.request = Request(call.spec.code, names, call.parameters)


def _add_session(tpm: Tpm, call: Call, given: TPMS_AUTH_COMMAND, number: int) -> None:
    use = SessionUse(None, given.nonce, given.session_attributes, given.hmac)
    if given.session_handle == RH.RS_PW:
        if use.has(_EXTRA_USE | _EXCLUSIVE_OR_RESET):
            raise TpmError(RC.ATTRIBUTES)
        if given.nonce:
            raise TpmError(RC.NONCE)
    else:
        session = sessions.find(tpm, given.session_handle)
        if session is None:
            raise TpmError(RC.REFERENCE_S0 + number - 1)
        if session.handle != given.session_handle:
            raise TpmError(RC.HANDLE)
        if any(other.session is session for other in call.uses):
            raise TpmError(RC.HANDLE)
        use.session = session
        if use.has(_EXTRA_USE | _EXCLUSIVE_OR_RESET):
            _add_extra_use(tpm, call, use, session)
    call.uses.append(use)


def _add_extra_use(tpm: Tpm, call: Call, use: SessionUse, session: Session) -> None:
    """What a session does beside, or in place of, authorizing: decrypt, encrypt, audit."""
    if use.has(TPMA_SESSION.DECRYPT):
        if call.decrypting is not None or not call.spec.decrypt:
            raise TpmError(RC.ATTRIBUTES)
        if session.symmetric_alg == ALG.NULL:
            raise TpmError(RC.SYMMETRIC)
        call.decrypting = use
    if use.has(TPMA_SESSION.ENCRYPT):
        if call.encrypting is not None or not call.spec.encrypt:
            raise TpmError(RC.ATTRIBUTES)
        if session.symmetric_alg == ALG.NULL:
            raise TpmError(RC.SYMMETRIC)
        call.encrypting = use
    if use.has(TPMA_SESSION.AUDIT):
        if call.auditing is not None or session.policy is not None:
            raise TpmError(RC.ATTRIBUTES)
        goes_on = session.is_audit and not use.has(TPMA_SESSION.AUDIT_RESET)
        exclusive = tpm.volatile.exclusive_audit_session == session.handle
        if goes_on and use.has(TPMA_SESSION.AUDIT_EXCLUSIVE) and not exclusive:
            raise TpmError(RC.EXCLUSIVE)
        call.auditing = use
    elif use.has(_EXCLUSIVE_OR_RESET):
        raise TpmError(RC.ATTRIBUTES)


def authorize_handles(tpm: Tpm, call: Call) -> None:
    """Bind sessions to handles and check every one of them (Part 3, 5.6)."""
    if call.spec.authorizations > len(call.uses) and call.uses:
        raise TpmError(RC.AUTH_MISSING)
    roles = [handle.auth for handle in call.spec.handles if handle.auth is not Auth.NONE]
    for use, entity, role in zip(call.uses, call.entities, roles, strict=False):
        use.entity, use.role = entity, role
    for number, use in enumerate(call.uses, 1):
        try:
            _check_session(tpm, call, use, is_first=number == 1)
        except TpmError as error:
            raise error.session(number) from None


def _check_session(tpm: Tpm, call: Call, use: SessionUse, *, is_first: bool) -> None:
    session = use.session
    if session is None:
        if use.entity is None:
            raise TpmError(RC.HANDLE)
    elif session.is_trial:
        raise TpmError(RC.ATTRIBUTES)
    elif session.is_da_bound:
        dictionary_attack.begin_use(tpm, is_lockout=session.is_lockout_bound)
    if use.entity is not None:
        use.proves_auth_value = authorize(tpm, call.request, use.entity, use.role, session)
    elif not use.has(_EXTRA_USE):
        raise TpmError(RC.ATTRIBUTES)
    is_password = session is None or (
        use.entity is not None and session.policy is not None and session.policy.password_needed
    )
    if is_password:
        assert use.entity is not None
        proven = sessions.matches(use.entity.auth_value, use.hmac.rstrip(b"\0"))
    else:
        assert session is not None
        expected = sessions.hmac_of(
            session,
            use.hmac_auth_value,
            call.request.cp_hash(session.auth_hash),
            use.nonce_caller,
            session.nonce_tpm,
            _other_nonces(call, use) if is_first else b"",
            use.attributes,
            may_be_empty=not use.hmac,
        )
        proven = sessions.matches(expected, use.hmac)
    if use.entity is not None and use.proves_auth_value:
        nv_pin.end_use(tpm, use.entity, proven=proven)
    if not proven:
        code = dictionary_attack.register_failure(
            tpm, use.entity, session, used=use.proves_auth_value
        )
        raise TpmError(code)


def _other_nonces(call: Call, use: SessionUse) -> bytes:
    """nonceTPM of separate decrypt and encrypt sessions, for the first session (Part 1, 19.6.5)."""
    if use.entity is None:
        return b""
    others = [call.decrypting]
    if call.encrypting is not call.decrypting:
        others.append(call.encrypting)
    return b"".join(
        other.session.nonce_tpm
        for other in others
        if other is not None and other is not use and other.session is not None
    )


def decrypt_parameter(call: Call) -> None:
    """Decrypt the first parameter (Part 3, 5.7)."""
    use = call.decrypting
    if use is None:
        return
    assert use.session is not None
    try:
        call.parameters = sessions.decrypt_parameter(
            use.session, use.encryption_auth_value, use.nonce_caller, call.parameters
        )
    except TpmError as error:
        raise error.session(call.uses.index(use) + 1) from None


def parse_parameters(tpm: Tpm, call: Call) -> None:
    """Unmarshal the parameter area (Part 3, 5.8)."""
    buffer, offset, profile = call.parameters, 0, tpm.profile
    for number, (_, read) in enumerate(call.spec.parameters, 1):
        try:
            value, offset = read(buffer, offset, profile)
        except TpmError as error:
            raise error.parameter(number) from None
        call.arguments.append(value)
    if offset != len(buffer):
        raise TpmError(RC.SIZE)


def run_action(tpm: Tpm, call: Call) -> None:
    """Call the action; marshal what it returns."""
    handles = [
        None if spec.optional and entity.handle == RH.NULL else entity
        for spec, entity in zip(call.spec.handles, call.entities, strict=True)
    ]
    ends_orderly = power.ends_orderly(tpm, call.spec.code)
    try:
        result = call.spec.action(tpm, *handles, *call.arguments)
    except TpmError as error:
        raise call.spec.locate(error) from None
    if ends_orderly:
        power.end_orderly(tpm)
    fields = [write(getattr(result, name)) for name, write in call.spec.response]
    if call.spec.response_handle:
        call.handle_area = fields.pop(0)
    call.response = b"".join(fields)


def frame_response(tpm: Tpm, call: Call) -> bytes:
    """Roll nonces, encrypt, audit, prove (Part 3, 5.9; the order is that of Part 1, 19 and 21).

    The first parameter is encrypted after the nonces have changed and before any rpHash is made.
    """
    for use in call.uses:
        if use.session is not None:
            use.session.nonce_tpm = tpm.random(len(use.session.nonce_tpm))
    if call.encrypting is not None:
        session = call.encrypting.session
        assert session is not None
        call.response = sessions.encrypt_parameter(
            session,
            call.encrypting.encryption_auth_value,
            call.encrypting.nonce_caller,
            call.response,
        )
    if call.spec.sessions:
        _audit(tpm, call)
    if call.tag == ST.NO_SESSIONS:
        body = call.handle_area + call.response
    else:
        answers = b"".join([_answer(tpm, call, use) for use in call.uses])
        size = len(call.response).to_bytes(4)
        body = b"".join((call.handle_area, size, call.response, answers))
    return HEADER.pack(call.tag, HEADER.size + len(body), RC.SUCCESS) + body


def _rp_hash(call: Call, alg: int) -> bytes:
    """rpHash (Part 1, 16.8)."""
    return digest(alg, bytes(4), call.spec.code.to_bytes(4), call.response)


def _audit(tpm: Tpm, call: Call) -> None:
    use = call.auditing
    exclusive = tpm.volatile.exclusive_audit_session
    if exclusive is not None and (
        use is None or use.session is None or use.session.handle != exclusive
    ):
        tpm.volatile.exclusive_audit_session = None
    if use is not None and use.session is not None:
        alg = use.session.auth_hash
        sessions.extend_audit(
            tpm,
            use.session,
            call.request.cp_hash(alg),
            _rp_hash(call, alg),
            restart=use.has(TPMA_SESSION.AUDIT_RESET),
        )
    if audit.is_audited(tpm, call.spec.code):
        alg = tpm.permanent.audit_hash
        audit.extend(tpm, call.request.cp_hash(alg), _rp_hash(call, alg))


def _answer(tpm: Tpm, call: Call, use: SessionUse) -> bytes:
    session = use.session
    if session is None:
        return _PASSWORD_ANSWER
    attributes = use.attributes & ~TPMA_SESSION.AUDIT_EXCLUSIVE
    if use is call.auditing and tpm.volatile.exclusive_audit_session == session.handle:
        attributes |= TPMA_SESSION.AUDIT_EXCLUSIVE
    if use.entity is not None and session.policy is not None and session.policy.password_needed:
        proof = b""
    else:
        proof = sessions.hmac_of(
            session,
            use.hmac_auth_value,
            _rp_hash(call, session.auth_hash),
            session.nonce_tpm,
            use.nonce_caller,
            b"",
            attributes,
            may_be_empty=not use.hmac,
        )
    if session.policy is not None:
        sessions.renew_policy(tpm, session)
    if not use.has(TPMA_SESSION.CONTINUE_SESSION):
        sessions.flush(tpm, session.handle)
    nonce = session.nonce_tpm
    return b"".join(
        (len(nonce).to_bytes(2), nonce, bytes((attributes,)), len(proof).to_bytes(2), proof)
    )


def is_long(command: bytes) -> bool:
    """Whether a command may take more than a few milliseconds."""
    spec = COMMANDS.get(int.from_bytes(command[6:10]))
    return spec is not None and spec.long
