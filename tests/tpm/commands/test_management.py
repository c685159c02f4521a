"""Physical presence, algorithm sets, settable capabilities and Read-Only mode."""

import struct

import pytest

from tests.tpm.harness import Password, Tester, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CAP, CC, PT, RH

NV_INDEX = 0x01500000
OWNER_READ_WRITE = 1 << 1 | 1 << 17
VOLATILE = 1 << 26 | 1 << 27  # ORDERLY, CLEAR_STCLEAR


@pytest.mark.parametrize("password", [b"", b"wrong"])
def test_pp_commands_needs_a_presence_that_nobody_has(
    both: tuple[Tester, Tester], password: bytes
) -> None:
    lists = CC.CLEAR.to_bytes(4)
    params = (1).to_bytes(4) + lists + bytes(4)
    codes = [t.run(CC.PP_COMMANDS, [RH.PLATFORM], params, [Password(password)]).rc for t in both]
    assert codes == [RC.PP | 0x900] * 2


def test_algorithm_set_is_reported(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        new = (7).to_bytes(4)
        assert tester.run(CC.SET_ALGORITHM_SET, [RH.PLATFORM], new, [Password()]).rc == 0
        query = struct.pack(">III", CAP.TPM_PROPERTIES, PT.ALGORITHM_SET, 1)
        assert tester.run(CC.GET_CAPABILITY, params=query).parameters[-4:] == new


def test_no_capability_is_settable(tester: Tester) -> None:
    data = struct.pack(">III", CAP.TPM_PROPERTIES, PT.MODES, 1)
    answer = tester.run(CC.SET_CAPABILITY, [RH.OWNER], sized(data), [Password()])
    assert answer.rc == RC.VALUE | 0x140


def read_only(tester: Tester, state: int) -> int:
    return tester.run(CC.READ_ONLY_CONTROL, [RH.PLATFORM], bytes((state,)), [Password()]).rc


def define(tester: Tester, attributes: int, index: int = NV_INDEX) -> int:
    public = struct.pack(">IHIHH", index, ALG.SHA256, attributes, 0, 8)
    params = sized(b"") + sized(public)
    return tester.run(CC.NV_DEFINE_SPACE, [RH.OWNER], params, [Password()]).rc


def write(tester: Tester, index: int = NV_INDEX) -> int:
    params = sized(b"12345678") + bytes(2)
    return tester.run(CC.NV_WRITE, [RH.OWNER, index], params, [Password()]).rc


def test_read_only_mode_refuses_what_lasts(tester: Tester) -> None:
    assert define(tester, OWNER_READ_WRITE) == 0
    assert define(tester, OWNER_READ_WRITE | VOLATILE, NV_INDEX + 1) == 0
    assert read_only(tester, 1) == 0
    assert write(tester) == RC.READ_ONLY
    assert write(tester, NV_INDEX + 1) == 0
    assert define(tester, OWNER_READ_WRITE, NV_INDEX + 2) == RC.READ_ONLY
    assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()]).rc == RC.READ_ONLY
    assert tester.run(CC.GET_RANDOM, params=b"\0\x08").rc == 0
    query = struct.pack(">III", CAP.TPM_PROPERTIES, PT.STARTUP_CLEAR, 1)
    assert tester.run(CC.GET_CAPABILITY, params=query).parameters[-1] & 1 << 4
    assert read_only(tester, 0) == 0
    assert write(tester) == 0


def test_read_only_mode_ends_with_a_reset(tester: Tester) -> None:
    assert read_only(tester, 1) == 0
    tester.reset()
    assert define(tester, OWNER_READ_WRITE) == 0


def test_only_the_platform_may_choose_read_only_mode(tester: Tester) -> None:
    answer = tester.run(CC.READ_ONLY_CONTROL, [RH.OWNER], b"\1", [Password()])
    assert answer.rc == RC.VALUE | 0x100
