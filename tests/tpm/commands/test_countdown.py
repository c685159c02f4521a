"""TPM2_ACT_SetTimeout and what a countdown timer does with the time (Part 1, clause 40)."""

import struct

import pytest

from tests.tpm.harness import EnginePeer, Password, Tester, digest, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CAP, CC, RH, SE, SU

ACT = RH.ACT_0 + 2
SIGNALED, PRESERVE_SIGNALED = 1, 2
STOP = 0xFFFFFFFF


def set_timeout(tester: Tester, seconds: int, password: bytes = b"") -> int:
    return tester.run(CC.ACT_SET_TIMEOUT, [ACT], seconds.to_bytes(4), [Password(password)]).rc


def state(tester: Tester) -> tuple[int, int]:
    """(seconds left, attributes), as GetCapability tells them."""
    answer = tester.run(CC.GET_CAPABILITY, params=struct.pack(">III", CAP.ACT, ACT, 1))
    _, capability, count, handle, left, attributes = struct.unpack(">BIIIII", answer.parameters)
    assert (capability, count, handle) == (CAP.ACT, 1, ACT)
    return left, attributes


def clock(tester: Tester) -> "EnginePeer":
    assert isinstance(tester.peer, EnginePeer)
    return tester.peer


def test_counts_down_and_signals(tester: Tester) -> None:
    assert set_timeout(tester, 10) == 0
    assert state(tester) == (10, 0)
    clock(tester).clock.milliseconds += 9_001
    assert state(tester) == (1, 0)
    clock(tester).clock.milliseconds += 999
    assert state(tester) == (0, SIGNALED)


def test_setting_it_anew_clears_the_signal(tester: Tester) -> None:
    assert set_timeout(tester, 1) == 0
    clock(tester).clock.milliseconds += 1_000
    assert state(tester) == (0, SIGNALED)
    assert set_timeout(tester, 0) == 0
    assert state(tester) == (0, SIGNALED)
    assert set_timeout(tester, STOP) == 0
    assert state(tester) == (0, 0)


def test_zero_ends_a_running_timer(tester: Tester) -> None:
    assert set_timeout(tester, 100) == 0
    assert set_timeout(tester, 0) == 0
    assert state(tester) == (0, SIGNALED)


def test_platform_auth_is_its_auth(tester: Tester) -> None:
    new = tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.PLATFORM], sized(b"pf"), [Password()])
    assert new.rc == 0
    assert set_timeout(tester, 5) == 0x9A2  # RC.BAD_AUTH of session 1
    assert set_timeout(tester, 5, b"pf") == 0


def test_only_its_policy_serves_without_the_platform(tester: Tester) -> None:
    code = digest(
        ALG.SHA256, bytes(32), CC.POLICY_COMMAND_CODE.to_bytes(4), CC.ACT_SET_TIMEOUT.to_bytes(4)
    )
    policy = sized(code) + ALG.SHA256.to_bytes(2)
    assert tester.run(CC.SET_PRIMARY_POLICY, [ACT], policy, [Password()]).rc == 0
    disable = RH.PLATFORM.to_bytes(4) + b"\0"
    assert tester.run(CC.HIERARCHY_CONTROL, [RH.PLATFORM], disable, [Password()]).rc == 0
    assert set_timeout(tester, 5) == RC.AUTH_UNAVAILABLE
    session = tester.start_session(SE.POLICY)
    bind = CC.ACT_SET_TIMEOUT.to_bytes(4)
    assert tester.run(CC.POLICY_COMMAND_CODE, [session.handle], bind).rc == 0
    assert tester.run(CC.ACT_SET_TIMEOUT, [ACT], (5).to_bytes(4), [session]).rc == 0
    assert state(tester) == (5, 0)


@pytest.mark.parametrize(("saves", "left"), [(1, 100), (2, 50)])
def test_resume_halves_what_nobody_set_anew(tester: Tester, saves: int, left: int) -> None:
    assert set_timeout(tester, 100) == 0
    for _ in range(saves):
        assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0
        tester.peer.reset()
        assert tester.startup(SU.STATE) == 0
    assert state(tester) == (left, 0)


def test_a_shutdown_saves_what_it_finds(tester: Tester) -> None:
    """Whether the engine goes on or another one reads what was stored then."""
    for restart in (clock(tester).engine.power_off, lambda: None):
        assert set_timeout(tester, 10) == 0
        assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0
        clock(tester).clock.milliseconds += 20_000
        assert state(tester) == (0, SIGNALED)
        restart()
        if clock(tester).engine.running:
            clock(tester).reset()
        else:
            clock(tester).engine.power_on()
        assert tester.startup(SU.STATE) == 0
        assert state(tester) == (10, 0)


def test_a_signal_outlives_a_resume(tester: Tester) -> None:
    assert set_timeout(tester, 10) == 0
    assert set_timeout(tester, 0) == 0
    for _ in range(2):
        assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0
        clock(tester).reset()
        assert tester.startup(SU.STATE) == 0
        assert state(tester) == (0, SIGNALED | PRESERVE_SIGNALED)
    assert set_timeout(tester, 5) == 0
    assert state(tester) == (5, 0)
    assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0
    clock(tester).reset()
    assert tester.startup() == 0
    assert state(tester) == (0, 0)


def test_reset_stops_it(tester: Tester) -> None:
    assert set_timeout(tester, 100) == 0
    tester.reset()
    assert state(tester) == (0, 0)


def test_no_timer_of_another_handle(tester: Tester) -> None:
    answer = tester.run(CC.ACT_SET_TIMEOUT, [RH.ACT_F + 1], (1).to_bytes(4), [Password()])
    assert answer.rc == RC.VALUE | 0x100
