"""Part 3, chapter 10: self tests, and failure mode."""

import pytest

from tests.tpm.agreement import agreed, parameter_error
from tests.tpm.harness import EnginePeer, Password, Tester
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH

Both = tuple[Tester, Tester]


@pytest.mark.parametrize("params", [b"\0", b"\1", b"\2", b"", b"\0\0"])
def test_self_test(both: Both, params: bytes) -> None:
    agreed(both, Tester.run, CC.SELF_TEST, [], params)


def test_nothing_is_left_to_test(tester: Tester) -> None:
    algs = (ALG.SHA256, ALG.RSA, ALG.AES)
    params = len(algs).to_bytes(4) + b"".join(alg.to_bytes(2) for alg in algs)
    assert tester.run(CC.INCREMENTAL_SELF_TEST, params=params).parameters == bytes(4)
    unknown = b"\0\0\0\1\0\x99"
    answer = tester.run(CC.INCREMENTAL_SELF_TEST, params=unknown)
    assert answer.rc == parameter_error(RC.VALUE, 1)
    too_many = tester.run(CC.INCREMENTAL_SELF_TEST, params=(65).to_bytes(4) + bytes(130))
    assert too_many.rc == parameter_error(RC.SIZE, 1)


def test_the_result(tester: Tester) -> None:
    assert tester.run(CC.GET_TEST_RESULT).parameters == bytes(6)


def test_failure_mode(tester: Tester, engine_peer: EnginePeer) -> None:
    engine_peer.engine.enter_failure_mode()
    assert tester.run(CC.GET_TEST_RESULT).parameters == bytes(2) + RC.FAILURE.to_bytes(4)
    commands: tuple[tuple[int, list[int], bytes], ...] = (
        (CC.GET_RANDOM, [], b"\0\1"),
        (CC.SELF_TEST, [], b"\1"),
        (CC.STARTUP, [], b"\0\0"),
        (CC.SHUTDOWN, [], b"\0\0"),
        (0x99, [], b""),
    )
    for code, handles, params in commands:
        assert tester.run(code, handles, params).rc == RC.FAILURE
    assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()]).rc == RC.FAILURE
    with_sessions = tester.run(CC.GET_TEST_RESULT, auths=[Password()])
    assert with_sessions.rc == RC.FAILURE
    assert not engine_peer.engine.shutdown_needed
    tester.peer.reset()
    assert tester.startup() == 0
    assert tester.run(CC.GET_TEST_RESULT).parameters == bytes(6)
