"""Part 3, chapter 34: a command of the vendor range is dispatched like any other."""

import pytest

from tests.tpm.agreement import parameter_error
from tests.tpm.harness import DECRYPT, ENCRYPT, Tester, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import CC


@pytest.mark.parametrize("data", [b"", b"placeholder", bytes(66)])
def test_what_is_sent_comes_back(tester: Tester, data: bytes) -> None:
    answer = tester.run(CC.VENDOR_TCG_TEST, params=sized(data))
    assert (answer.rc, answer.parameters) == (0, sized(data))


def test_both_ways_are_encrypted(tester: Tester) -> None:
    session = tester.start_session(aes_bits=128)
    session.attributes |= DECRYPT | ENCRYPT
    answer = tester.run(CC.VENDOR_TCG_TEST, [], sized(b"placeholder"), [session])
    assert (answer.rc, answer.parameters) == (0, sized(b"placeholder"))


def test_it_takes_one_buffer(tester: Tester) -> None:
    assert tester.run(CC.VENDOR_TCG_TEST, params=sized(bytes(67))).rc == parameter_error(RC.SIZE, 1)
    assert tester.run(CC.VENDOR_TCG_TEST, params=sized(b"x") + b"y").rc == RC.SIZE
