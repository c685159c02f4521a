"""Command processing in the order of Part 3, clause 5.

Each stage is a function that reads and fills a `Call`; `execute` names them in order.
"""

from .call import HEADER, Call
from .command import find
from .core import audit, power, read_only
from .core.entities import resolve
from .rc import RC, TpmError
from .response import error_response, frame_response
from .session_area import authorize_handles, decrypt_parameter, parse_sessions
from .state import Tpm
from .wire.constants import RH, ST

HANDLE_SIZE = 4
# Looking up a member of an Enum takes 0.1 µs in Python 3.11: every command needs these.
_HAS_SESSIONS = {int(ST.NO_SESSIONS): False, int(ST.SESSIONS): True}
_NULL = int(RH.NULL)
_unpack, _HEADER_SIZE = HEADER.unpack_from, HEADER.size


def execute(tpm: Tpm, command: bytes) -> bytes:
    """Run one command and return its response. Raises only for defects of the engine."""
    try:
        call = parse_header(tpm, command)
        spec = call.spec
        if spec.handles:
            parse_handles(tpm, call)
        if tpm.clear.read_only:
            read_only.check(spec, call.entities)
        if call.has_sessions:
            parse_sessions(tpm, call)
            authorize_handles(tpm, call)
        elif spec.authorizations:
            raise TpmError(RC.AUTH_MISSING)
        if call.auditing is not None or audit.is_audited(tpm, spec.code):
            prepare_audit(tpm, call)
        if call.decrypting is not None:
            decrypt_parameter(call, call.decrypting)
        parse_parameters(tpm, call)
        run_action(tpm, call)
        return frame_response(tpm, call)
    except TpmError as error:
        return error_response(error.code)


def parse_header(tpm: Tpm, command: bytes) -> Call:
    """Header and mode checks (Part 3, 5.2 and 5.3)."""
    received = len(command)
    if received < _HEADER_SIZE:
        raise TpmError(RC.INSUFFICIENT)
    tag, size, code = _unpack(command)
    has_sessions = _HAS_SESSIONS.get(tag)
    if has_sessions is None:
        raise TpmError(RC.BAD_TAG)
    if not size == received <= tpm.buffer_size:
        raise TpmError(RC.COMMAND_SIZE)
    spec = find(code, tpm.profile)
    if tpm.failed:
        if has_sessions or spec is None or not spec.in_failure_mode:
            raise TpmError(RC.FAILURE)
    elif spec is None:
        raise TpmError(RC.COMMAND_CODE)
    elif tpm.volatile.started is spec.starts:
        raise TpmError(RC.INITIALIZE)
    return Call(spec, has_sessions, command, _HEADER_SIZE)


def parse_handles(tpm: Tpm, call: Call) -> None:
    """The handle area (Part 3, 5.4): all handles are read before the first is looked up."""
    spec = call.spec
    values, call.offset = spec.handle_area.read(call.buffer, call.offset, tpm.profile)
    call.entities = entities = []
    number = 0
    try:
        for number, value in enumerate(values, 1):
            entities.append(resolve(tpm, value, number, spec.code))
    except TpmError as error:
        raise error.handle(number) from None
    call.handles = entities
    if _NULL in values:
        call.handles = [
            None if row.optional and value == _NULL else entity
            for row, value, entity in zip(spec.handles, values, entities, strict=True)
        ]


def prepare_audit(tpm: Tpm, call: Call) -> None:
    """Take the cpHashes for audits, before the action can change the Names in them."""
    if call.auditing is not None:
        call.request().cp_hash(call.auditing.session.auth_hash)
    if audit.is_audited(tpm, call.spec.code):
        call.audit_alg = audit.begin(tpm, call.spec.code)
        call.request().cp_hash(call.audit_alg)


def parse_parameters(tpm: Tpm, call: Call) -> None:
    """Unmarshal the parameter area (Part 3, 5.8)."""
    call.arguments, end = call.spec.parameters.read(call.buffer, call.offset, tpm.profile)
    if end != len(call.buffer):
        raise TpmError(RC.SIZE)


def run_action(tpm: Tpm, call: Call) -> None:
    """Call the action; marshal what it returns."""
    spec = call.spec
    ends_orderly = tpm.permanent.orderly is not None and power.ends_orderly(tpm, spec)
    tpm.response_room = tpm.buffer_size - call.framing_size()
    try:
        result = spec.action(tpm, *call.handles, *call.arguments)
    except TpmError as error:
        raise spec.locate(error) from None
    if ends_orderly:
        power.end_orderly(tpm)
    if result is not None:
        call.response = result.marshal()
        if spec.response_handle:
            call.handle_area = call.response[:HANDLE_SIZE]
            call.response = call.response[HANDLE_SIZE:]
