"""Header, handles and sessions: what is refused, with which code, in which order."""

import itertools

import pytest

from tests.tpm.agreement import handle_error, session_error
from tests.tpm.harness import AUDIT, CONTINUE, DECRYPT, ENCRYPT, Tester
from tests.tpm.raw import (
    agreed_code,
    authorization,
    code_of,
    framed,
    resized,
    session_area,
    with_sessions,
)
from vtpmd.tpm.call import Call, PasswordUse, SessionUse
from vtpmd.tpm.command import COMMANDS, find
from vtpmd.tpm.core.authorization import Request
from vtpmd.tpm.profile import PROFILES
from vtpmd.tpm.rc import RC
from vtpmd.tpm.state import Session
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE, ST

Both = tuple[Tester, Tester]

DEFAULT = PROFILES["default-v1"]
GET_RANDOM = framed(CC.GET_RANDOM, b"\x00\x10")
PASSWORD = authorization()
ONE_DIGEST = b"\x00\x00\x00\x01\x00\x0b" + bytes(32)
EXTEND = with_sessions(CC.PCR_EXTEND, b"\x00\x00\x00\x10", [PASSWORD], ONE_DIGEST)
HMAC, POLICY, TRIAL = 0x02000000, 0x03000001, 0x03000002
HANDLES = (
    *(0x00, 0x17, 0x18, 0xFF, 0x01000000, 0x01C00002, 0x01FFFFFF),
    *(0x02000000, 0x0200003F, 0x02000040, 0x03000000, 0x03000040),
    *(0x40000000, 0x40000001, 0x40000007, 0x40000009, 0x4000000A, 0x4000000B, 0x4000000C),
    *(0x4000000D, 0x40000010, 0x4000010F, 0x40000110, 0x40000120),
    *(0x80000000, 0x80000002, 0x80000003, 0x81000000, 0x81FFFFFF, 0x82000000, 0x90000000),
    *(0xA0000000, 0xFFFFFFFF),
)
CHANGING = {
    *(CC.CLEAR, CC.CHANGE_EPS, CC.CHANGE_PPS, CC.HIERARCHY_CONTROL, CC.STARTUP, CC.SHUTDOWN),
    *(CC.NV_DEFINE_SPACE2, CC.NV_READ_PUBLIC2, CC.READ_ONLY_CONTROL, CC.ACT_SET_TIMEOUT),
}


def extend(*authorizations: bytes) -> bytes:
    return with_sessions(CC.PCR_EXTEND, b"\x00\x00\x00\x10", list(authorizations), ONE_DIGEST)


def get_random(*authorizations: bytes) -> bytes:
    return with_sessions(CC.GET_RANDOM, b"", list(authorizations), b"\x00\x10")


def stir_random(*authorizations: bytes) -> bytes:
    return with_sessions(CC.STIR_RANDOM, b"", list(authorizations), b"\x00\x04" + bytes(4))


def start_sessions(both: Both) -> None:
    """One session of each type in each; their handles are HMAC, POLICY and TRIAL."""
    for tester in both:
        tester.reset()
        for kind in (SE.HMAC, SE.POLICY, SE.TRIAL):
            tester.start_session(kind)


def test_a_command_in_flight_shows_nothing_secret() -> None:
    password = PasswordUse(b"s3cret")
    use = SessionUse(Session(0x02000000, SE.HMAC, ALG.SHA256, b"", b"s3cret"), b"", 0, b"s3cret")
    request = Request(COMMANDS[CC.CREATE], [], b"s3cret")
    call = Call(COMMANDS[CC.CREATE], True, b"s3cret", 0, uses=[password, use], response=b"s3cret")
    assert "s3cret" not in repr(password) + repr(use) + repr(request) + repr(call)


def test_a_header_is_needed(tester: Tester) -> None:
    for length in range(10):
        assert code_of(tester.raw(GET_RANDOM[:length])) == RC.INSUFFICIENT


def test_the_size_is_that_of_what_was_sent(tester: Tester) -> None:
    for size in (0, 9, len(GET_RANDOM) - 1, len(GET_RANDOM) + 1, 0xFFFFFFFF):
        wrong = GET_RANDOM[:2] + size.to_bytes(4) + GET_RANDOM[6:]
        assert code_of(tester.raw(wrong)) == RC.COMMAND_SIZE


def test_more_than_a_buffer_is_refused(tester: Tester) -> None:
    assert code_of(tester.raw(framed(CC.GET_RANDOM, bytes(4087)))) == RC.COMMAND_SIZE
    assert code_of(tester.raw(framed(CC.GET_RANDOM, bytes(4086)))) == RC.SIZE


@pytest.mark.parametrize("tag", [0, ST.NULL, 0x8003, 0x8004, 0xFFFF])
def test_tags_that_no_command_has(both: Both, tag: int) -> None:
    assert agreed_code(both, framed(CC.GET_RANDOM, b"\x00\x10", tag)) == RC.BAD_TAG


def test_command_codes(both: Both) -> None:
    """Each is known to both or to none; and one without its handles or parameters says so."""
    for code in (0, 0x11E, *range(0x11F, 0x1B0), 0x20000000, 0x20000144, 0xFFFFFFFF):
        if code in (CC.SELF_TEST, CC.CLEAR):
            continue
        for tag in (ST.NO_SESSIONS, ST.SESSIONS):
            answer = agreed_code(both, framed(code, tag=tag))
            assert (answer == RC.COMMAND_CODE) == (find(code, DEFAULT) is None)


@pytest.mark.parametrize("command", [EXTEND, GET_RANDOM], ids=["sessions", "no sessions"])
def test_every_truncation(both: Both, command: bytes) -> None:
    for length in range(10, len(command)):
        assert agreed_code(both, resized(command[:length])) != 0
    assert agreed_code(both, resized(command + b"\x00")) == RC.SIZE


def test_nothing_before_startup(engine_peer: object, both: Both) -> None:
    for tester in both:
        tester.peer.reset()
    for command in (GET_RANDOM, EXTEND, framed(CC.GET_CAPABILITY, bytes(12)), framed(CC.CLEAR)):
        assert agreed_code(both, command) == RC.INITIALIZE
    assert agreed_code(both, framed(0x11E)) == RC.COMMAND_CODE
    for tester in both:
        assert tester.startup() == 0
    started = framed(CC.STARTUP, b"\x00\x00")
    assert agreed_code(both, started) == RC.INITIALIZE
    with_area = framed(CC.STARTUP, session_area(PASSWORD) + b"\x00\x00", ST.SESSIONS)
    assert agreed_code(both, with_area) == RC.INITIALIZE


@pytest.mark.parametrize("other", [RH.OWNER, 0x80000000])
def test_handles_of_every_command(both: Both, other: int) -> None:
    for code, spec in COMMANDS.items():
        count = len(spec.handles)
        if code in CHANGING:
            continue
        for position, handle in itertools.product(range(count), HANDLES):
            chosen = [handle if n == position else other for n in range(count)]
            area = b"".join(number.to_bytes(4) for number in chosen)
            agreed_code(both, framed(code, area))
            if spec.authorizations:
                passwords = [PASSWORD] * spec.authorizations
                agreed_code(both, with_sessions(code, area, passwords))


def test_all_handles_are_read_before_any_is_looked_up(both: Both) -> None:
    absent, wrong = (0x80000000).to_bytes(4), bytes(4)
    assert agreed_code(both, framed(CC.CERTIFY, absent + wrong)) == handle_error(RC.VALUE, 2)
    assert agreed_code(both, framed(CC.CERTIFY, absent + absent)) == RC.REFERENCE_H0


def test_sizes_of_the_authorization_area(both: Both) -> None:
    handle = b"\x00\x00\x00\x10"
    for size in (*range(60), 0x80000000, 0xFFFFFFFF):
        area = size.to_bytes(4) + PASSWORD + ONE_DIGEST
        agreed_code(both, framed(CC.PCR_EXTEND, handle + area, ST.SESSIONS))
    for length in range(4):
        short = framed(CC.PCR_EXTEND, handle + bytes(length), ST.SESSIONS)
        assert agreed_code(both, short) == RC.INSUFFICIENT
    empty = framed(CC.PCR_EXTEND, handle + bytes(4) + ONE_DIGEST, ST.SESSIONS)
    assert agreed_code(both, empty) == RC.SIZE


def test_sessions_where_they_are_needed_and_where_not(both: Both) -> None:
    without = framed(CC.PCR_EXTEND, b"\x00\x00\x00\x10" + ONE_DIGEST)
    assert agreed_code(both, without) == RC.AUTH_MISSING
    assert agreed_code(both, get_random(PASSWORD)) == session_error(RC.HANDLE, 1)
    for code, params in (
        (CC.CONTEXT_LOAD, bytes(20)),
        (CC.FLUSH_CONTEXT, bytes(4)),
    ):
        assert agreed_code(both, with_sessions(code, b"", [PASSWORD], params)) == RC.AUTH_CONTEXT
    assert agreed_code(both, with_sessions(CC.READ_CLOCK, b"", [PASSWORD])) == session_error(
        RC.HANDLE, 1
    )
    two_roles = RH.OWNER.to_bytes(4) * 2
    assert agreed_code(both, with_sessions(CC.NV_CERTIFY, two_roles, [PASSWORD])) != 0


@pytest.mark.parametrize("nonce", [b"", bytes(16)], ids=["no nonce", "nonce"])
def test_every_attribute_of_a_session(both: Both, nonce: bytes) -> None:
    """All octets of attributes on sessions of every kind, or none."""
    start_sessions(both)
    handles = (RH.RS_PW, HMAC, POLICY, TRIAL, 0x02000001, 0x03000000, 0x02000003, 0x03000040, 0)
    for handle, attributes in itertools.product(handles, range(256)):
        if attributes & 0x06 and not attributes & AUDIT:
            continue
        for command in (extend, get_random, stir_random):
            octets = command(authorization(handle, nonce, attributes))
            if agreed_code(both, octets) == 0 and not attributes & CONTINUE:
                start_sessions(both)


def test_exclusive_and_reset_need_audit(tester: Tester) -> None:
    session = tester.start_session()
    for attributes in (0x02, 0x04, 0x06, 0x03, 0x27):
        command = extend(authorization(session.handle, bytes(16), attributes))
        assert code_of(tester.raw(command)) == session_error(RC.ATTRIBUTES, 1)


def test_several_sessions(both: Both) -> None:
    """Pairs of everything: duplicates, who comes first, which error wins, and its position."""
    uses = [PASSWORD] + [
        authorization(handle, bytes(16), attributes)
        for handle in (HMAC, POLICY, 0x02000001, 0x02000009)
        for attributes in (CONTINUE, CONTINUE | AUDIT, CONTINUE | DECRYPT, CONTINUE | ENCRYPT)
    ]
    start_sessions(both)
    for pair in itertools.product(uses, repeat=2):
        for command in (extend, get_random, stir_random):
            if agreed_code(both, command(*pair)) == 0:
                start_sessions(both)


def test_no_more_than_three_sessions(both: Both) -> None:
    absent = authorization(0x02000009)
    assert agreed_code(both, extend(*[PASSWORD] * 4)) == session_error(RC.SIZE, 4)
    assert agreed_code(both, extend(*[PASSWORD] * 3, PASSWORD[:3])) == session_error(RC.SIZE, 4)
    assert agreed_code(both, extend(PASSWORD, absent, PASSWORD, PASSWORD)) == RC.REFERENCE_S0 + 1
    assert agreed_code(both, extend(PASSWORD, PASSWORD)) == session_error(RC.HANDLE, 2)


def test_sizes_inside_a_session(both: Both) -> None:
    start_sessions(both)
    for handle, nonce, proof in itertools.product(
        (RH.RS_PW, HMAC), (0, 1, 63, 64, 65, 66, 255), (0, 1, 63, 64, 65, 66, 255)
    ):
        octets = extend(authorization(handle, bytes(nonce), CONTINUE, bytes(proof)))
        if agreed_code(both, octets) == 0:
            start_sessions(both)
