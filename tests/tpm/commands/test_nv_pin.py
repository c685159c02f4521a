"""PIN Pass and PIN Fail indices: how often their authValue may be used (Part 1, 34.2.8)."""

from dataclasses import replace

import pytest

from tests.tpm import areas
from tests.tpm.agreement import agreed, handle_error, session_error
from tests.tpm.commands.nv_area import (
    INDEX,
    PIN_FAIL,
    PIN_PASS,
    Area,
    define,
    read,
    write,
)
from tests.tpm.commands.policy_steps import (
    AUTH_VALUE,
    PASSWORD,
    Assertion,
    policy_of,
    session_with,
)
from tests.tpm.harness import EnginePeer, Password, Result, Session, Tester, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE, ST

PIN = b"1234"
UNAVAILABLE = RC.AUTH_UNAVAILABLE
WRONG = session_error(RC.BAD_AUTH, 1)
NULL_TICKET = bytes(2) + ST.AUTH_SECRET.to_bytes(2) + RH.NULL.to_bytes(4) + bytes(2)
# Failures of a PIN Pass index are a matter of the TPM's dictionary attack logic, if not exempted.
PASS_AREA = replace(PIN_PASS, attributes=PIN_PASS.attributes | TPMA_NV.NO_DA)


def limits(count: int, limit: int) -> bytes:
    """TPMS_NV_PIN_COUNTER_PARAMETERS."""
    return count.to_bytes(4) + limit.to_bytes(4)


def pin_count(tester: Tester) -> int:
    """pinCount, read by the owner, which counts as nothing."""
    found = read(tester, 4, by=RH.OWNER)
    assert found.rc == 0
    return int.from_bytes(found.sized())


def prepared(both: tuple[Tester, Tester], area: Area, count: int, limit: int) -> None:
    """Define and write a PIN index on both TPMs."""
    assert agreed(both, define, area, auth=PIN).rc == 0
    assert agreed(both, write, limits(count, limit), by=RH.OWNER).rc == 0


def enter(tester: Tester, pin: bytes, *, code: int = CC.NV_READ, hmac: bool = False) -> Result:
    """Use the authValue once, and forget the session."""
    auth: Password | Session = Password(pin)
    if hmac:
        auth = tester.start_session()
        auth.attributes, auth.auth_value = 0, pin
    if code == CC.NV_READ:
        result = read(tester, 8, auth=auth)
    else:
        policy = tester.start_session(SE.POLICY)
        params = bytes(6) + (-10).to_bytes(4, signed=True)
        result = tester.run(CC.POLICY_SECRET, [INDEX, policy.handle], params, [auth])
        tester.run(CC.FLUSH_CONTEXT, params=policy.handle.to_bytes(4))
    if isinstance(auth, Session) and result.rc:
        tester.run(CC.FLUSH_CONTEXT, params=auth.handle.to_bytes(4))
    return Result(result.rc)


@pytest.mark.parametrize("code", [CC.NV_READ, CC.POLICY_SECRET])
@pytest.mark.parametrize("hmac", [False, True])
def test_pin_pass_counts_successes(both: tuple[Tester, Tester], code: int, hmac: bool) -> None:
    prepared(both, PASS_AREA, 0, 3)
    expected = [(PIN, 0, 1), (b"4321", WRONG, 1), (PIN, 0, 2), (PIN, 0, 3), (PIN, UNAVAILABLE, 3)]
    for pin, rc, count in expected:
        assert agreed(both, enter, pin, code=code, hmac=hmac).rc == rc
        assert [pin_count(tester) for tester in both] == [count, count]
    assert agreed(both, write, limits(0, 1), by=RH.OWNER).rc == 0
    assert agreed(both, enter, PIN, code=code, hmac=hmac).rc == 0


@pytest.mark.parametrize("code", [CC.NV_READ, CC.POLICY_SECRET])
@pytest.mark.parametrize("hmac", [False, True])
def test_pin_fail_counts_failures_in_a_row(
    both: tuple[Tester, Tester], code: int, hmac: bool
) -> None:
    prepared(both, PIN_FAIL, 0, 2)
    guess = b"4321"
    expected = [
        (guess, WRONG, 1),
        (PIN, 0, 0),
        (guess, WRONG, 1),
        (guess, WRONG, 2),
        (PIN, UNAVAILABLE, 2),
        (guess, UNAVAILABLE, 2),
    ]
    for pin, rc, count in expected:
        assert agreed(both, enter, pin, code=code, hmac=hmac).rc == rc
        assert [pin_count(tester) for tester in both] == [count, count]


@pytest.mark.parametrize("area", [PASS_AREA, PIN_FAIL])
def test_what_has_not_been_written_can_not_be_used(both: tuple[Tester, Tester], area: Area) -> None:
    assert agreed(both, define, area, auth=PIN).rc == 0
    for code in (CC.NV_READ, CC.POLICY_SECRET):
        assert agreed(both, enter, PIN, code=code).rc == UNAVAILABLE
    for count, limit in ((0, 0), (1, 1), (2, 1), (0xFFFFFFFF, 0)):
        assert agreed(both, write, limits(count, limit), by=RH.OWNER).rc == 0
        assert agreed(both, enter, PIN).rc == UNAVAILABLE


def test_the_authorization_value_never_writes(both: tuple[Tester, Tester]) -> None:
    for area in (PASS_AREA, PIN_FAIL):
        prepared(both, area, 0, 5)
        assert agreed(both, write, bytes(8), auth=Password(PIN)).rc == UNAVAILABLE
        assert (
            agreed(both, Tester.run, CC.NV_UNDEFINE_SPACE, [RH.OWNER, INDEX], b"", [Password()]).rc
            == 0
        )


def test_reading_needs_no_permission_of_its_own(both: tuple[Tester, Tester]) -> None:
    prepared(both, replace(PASS_AREA, attributes=PASS_AREA.attributes & ~TPMA_NV.AUTHREAD), 0, 5)
    assert agreed(both, enter, PIN, code=CC.POLICY_SECRET).rc == 0
    assert agreed(both, enter, PIN).rc == 0
    assert [pin_count(tester) for tester in both] == [2, 2]


def test_locks_do_not_concern_the_pin(both: tuple[Tester, Tester]) -> None:
    lockable = TPMA_NV.READ_STCLEAR | TPMA_NV.WRITE_STCLEAR
    prepared(both, replace(PASS_AREA, attributes=PASS_AREA.attributes | lockable), 0, 2)
    for code in (CC.NV_READ_LOCK, CC.NV_WRITE_LOCK):
        assert agreed(both, Tester.run, code, [RH.OWNER, INDEX], b"", [Password()]).rc == 0
    for rc in (0, 0, UNAVAILABLE):
        assert agreed(both, enter, PIN, code=CC.POLICY_SECRET).rc == rc


@pytest.mark.parametrize("area", [PASS_AREA, PIN_FAIL])
def test_tickets_and_binding(both: tuple[Tester, Tester], area: Area) -> None:
    prepared(both, area, 0, 9)
    for tester in both:
        policy = tester.start_session(SE.POLICY)
        params = bytes(6) + (-10).to_bytes(4, signed=True)
        answer = tester.run(CC.POLICY_SECRET, [INDEX, policy.handle], params, [Password(PIN)])
        assert answer.rc == 0
        assert (answer.parameters == NULL_TICKET) == (area is PASS_AREA)
    params = sized(bytes(16)) + bytes(2) + b"\0" + ALG.NULL.to_bytes(2) + ALG.SHA256.to_bytes(2)
    bound = agreed(both, Tester.run, CC.START_AUTH_SESSION, [RH.NULL, INDEX], params)
    assert bound.rc == handle_error(RC.HANDLE, 2)


@pytest.mark.parametrize("assertion", [AUTH_VALUE, PASSWORD], ids=["authValue", "password"])
@pytest.mark.parametrize("area", [PASS_AREA, PIN_FAIL], ids=["PIN Pass", "PIN Fail"])
def test_a_policy_does_not_get_around_the_limit(
    tester: Tester, area: Area, assertion: Assertion
) -> None:
    """libtpms forgets to look here; Part 1, 34.2.6.6 does not allow it."""
    more = TPMA_NV.POLICYREAD | TPMA_NV.POLICYWRITE
    policy, of_failures = policy_of(ALG.SHA256, assertion), area is PIN_FAIL
    area = replace(area, attributes=area.attributes | more, policy=policy)

    def by_policy(pin: bytes) -> int:
        session = session_with(tester, assertion)
        session.attributes, session.auth_value = 0, pin
        session.password = pin if assertion is PASSWORD else None
        result = read(tester, 8, auth=session)
        if result.rc:
            areas.flush(tester, session.handle)
        return result.rc

    assert define(tester, area, auth=PIN).rc == 0
    assert by_policy(PIN) == UNAVAILABLE
    assert write(tester, limits(0, 1), by=RH.OWNER).rc == 0
    tries = [(PIN, 0), (b"4321", WRONG)]
    # What is not counted first, then what is.
    for number, (pin, rc) in enumerate(tries if of_failures else tries[::-1]):
        assert by_policy(pin) == rc
        assert pin_count(tester) == number
    for pin in (PIN, b"4321"):
        assert by_policy(pin) == UNAVAILABLE
        assert pin_count(tester) == 1


@pytest.mark.parametrize("more", [0, TPMA_NV.ORDERLY])
def test_failures_are_durable_before_they_are_answered(
    tester: Tester, engine_peer: EnginePeer, more: int
) -> None:
    area = replace(PIN_FAIL, attributes=PIN_FAIL.attributes | more)
    assert define(tester, area, auth=PIN).rc == 0
    assert write(tester, limits(0, 3), by=RH.OWNER).rc == 0
    before = engine_peer.stored
    assert enter(tester, b"4321").rc == WRONG
    assert engine_peer.stored != before
    if not more:
        tester.reset()
        assert pin_count(tester) == 1


@pytest.mark.parametrize("area", [PASS_AREA, PIN_FAIL])
def test_nothing_is_learned_while_nothing_can_be_counted(
    tester: Tester, engine_peer: EnginePeer, area: Area
) -> None:
    assert define(tester, area, auth=PIN).rc == 0
    assert write(tester, limits(0, 3), by=RH.OWNER).rc == 0
    engine_peer.engine.nv_available = False
    for pin in (PIN, b"4321"):
        assert enter(tester, pin).rc == RC.NV_UNAVAILABLE
    engine_peer.engine.nv_available = True
    assert pin_count(tester) == 0
