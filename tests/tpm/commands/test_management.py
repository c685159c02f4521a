"""Physical presence, algorithm sets, settable capabilities and Read-Only mode."""

import struct

import pytest

from tests.tpm import areas
from tests.tpm.harness import EnginePeer, Password, Tester, sized
from vtpmd.tpm.command import COMMANDS
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CAP, CC, NT, PT, RH, SE, SU

NV_INDEX = 0x01500000
OWNER_READ_WRITE = 1 << 1 | 1 << 17
NO_DA, ORDERLY, CLEAR_STCLEAR = 1 << 25, 1 << 26, 1 << 27
VOLATILE = ORDERLY | CLEAR_STCLEAR


@pytest.mark.parametrize("password", [b"", b"wrong"])
def test_pp_commands_needs_a_presence_that_nobody_has(
    both: tuple[Tester, Tester], password: bytes
) -> None:
    lists = CC.CLEAR.to_bytes(4)
    params = (1).to_bytes(4) + lists + bytes(4)
    codes = [t.run(CC.PP_COMMANDS, [RH.PLATFORM], params, [Password(password)]).rc for t in both]
    assert codes == [RC.PP | 0x900] * 2


def test_presence_is_asked_of_the_platform_only(tester: Tester, engine_peer: EnginePeer) -> None:
    """A list of commands that came with the state of another TPM; nobody can change it here."""
    engine_peer.engine._tpm.permanent.pp_commands.append(CC.CLEAR)
    engine_peer.keep()
    assert tester.run(CC.CLEAR, [RH.PLATFORM], auths=[Password()]).rc == RC.PP | 0x900
    assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()]).rc == 0


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


@pytest.mark.parametrize("attribute", [ORDERLY, CLEAR_STCLEAR])
def test_an_index_is_volatile_with_both_attributes_only(tester: Tester, attribute: int) -> None:
    """Part 3, table 207: one of the two alone still lets what is written be stored."""
    assert define(tester, OWNER_READ_WRITE | attribute) == 0
    assert read_only(tester, 1) == 0
    assert write(tester) == RC.READ_ONLY
    assert read_only(tester, 0) == 0
    assert write(tester) == 0


@pytest.mark.parametrize("kind", [NT.PIN_PASS, NT.PIN_FAIL])
def test_no_pin_is_counted_in_read_only_mode(tester: Tester, kind: int) -> None:
    attributes = OWNER_READ_WRITE | kind << 4 | NO_DA
    assert define(tester, attributes) == 0
    pin = sized(bytes(4) + (5).to_bytes(4)) + bytes(2)
    assert tester.run(CC.NV_WRITE, [RH.OWNER, NV_INDEX], pin, [Password()]).rc == 0
    session = tester.start_session(SE.POLICY)

    def secret(entity: int) -> int:
        handles, params = [entity, session.handle], bytes(6) + bytes(4)
        return tester.run(CC.POLICY_SECRET, handles, params, [Password()]).rc

    assert read_only(tester, 1) == 0
    assert secret(NV_INDEX) == RC.READ_ONLY
    assert secret(RH.OWNER) == 0
    assert read_only(tester, 0) == 0
    assert secret(NV_INDEX) == 0


OBJECT = 0x80000000
REFUSED: dict[int, tuple[int, ...]] = {
    CC.CREATE: (OBJECT,),
    CC.OBJECT_CHANGE_AUTH: (OBJECT, OBJECT),
    CC.CREATE_LOADED: (OBJECT,),
    CC.SET_COMMAND_CODE_AUDIT_STATUS: (RH.OWNER,),
    CC.PCR_ALLOCATE: (RH.PLATFORM,),
    CC.PCR_SET_AUTH_POLICY: (RH.PLATFORM,),
    CC.PCR_SET_AUTH_VALUE: (20,),
    CC.CREATE_PRIMARY: (RH.OWNER,),
    CC.HIERARCHY_CONTROL: (RH.OWNER,),
    CC.SET_PRIMARY_POLICY: (RH.OWNER,),
    CC.CHANGE_PPS: (RH.PLATFORM,),
    CC.CHANGE_EPS: (RH.PLATFORM,),
    CC.CLEAR: (RH.LOCKOUT,),
    CC.CLEAR_CONTROL: (RH.LOCKOUT,),
    CC.HIERARCHY_CHANGE_AUTH: (RH.OWNER,),
    CC.DICTIONARY_ATTACK_PARAMETERS: (RH.LOCKOUT,),
    CC.PP_COMMANDS: (RH.PLATFORM,),
    CC.SET_ALGORITHM_SET: (RH.PLATFORM,),
    CC.EVICT_CONTROL: (RH.OWNER, OBJECT),
    CC.CLOCK_SET: (RH.OWNER,),
    CC.CLOCK_RATE_ADJUST: (RH.OWNER,),
    CC.SET_CAPABILITY: (RH.OWNER,),
    CC.NV_DEFINE_SPACE: (RH.OWNER,),
    CC.NV_DEFINE_SPACE2: (RH.OWNER,),
    CC.NV_UNDEFINE_SPACE: (RH.OWNER, NV_INDEX),
    CC.NV_UNDEFINE_SPACE_SPECIAL: (NV_INDEX, RH.PLATFORM),
    CC.NV_INCREMENT: (RH.OWNER, NV_INDEX),
    CC.NV_GLOBAL_WRITE_LOCK: (RH.OWNER,),
    CC.NV_CHANGE_AUTH: (NV_INDEX,),
}
"""The commands of Part 3, table 207, that are not permitted whatever they are used with."""


def test_what_read_only_mode_refuses_whatever_it_is_used_with(pqc: Tester) -> None:
    """Before any authorization is checked (Part 1, 42.2), and nothing else."""
    tester = pqc
    assert define(tester, OWNER_READ_WRITE) == 0
    assert areas.loaded_primary(tester, areas.storage()) == OBJECT
    assert read_only(tester, 1) == 0
    for code, spec in COMMANDS.items():
        handles = REFUSED.get(code, (RH.NULL,) * len(spec.handles))
        wrong = [Password(b"wrong")] * spec.authorizations
        rc = tester.run(code, handles, b"", wrong).rc
        assert (rc == RC.READ_ONLY) is (code in REFUSED), CC(code).name


@pytest.mark.parametrize(
    ("shutdown", "startup", "stays"),
    [(SU.CLEAR, SU.CLEAR, False), (SU.STATE, SU.CLEAR, False), (SU.STATE, SU.STATE, True)],
)
def test_read_only_mode_outlives_a_resume_only(
    tester: Tester, shutdown: SU, startup: SU, stays: bool
) -> None:
    assert read_only(tester, 1) == 0
    assert tester.run(CC.SHUTDOWN, params=shutdown.to_bytes(2)).rc == 0
    tester.peer.reset()
    assert tester.startup(startup) == 0
    assert define(tester, OWNER_READ_WRITE) == (RC.READ_ONLY if stays else 0)


def test_only_the_platform_may_choose_read_only_mode(tester: Tester) -> None:
    answer = tester.run(CC.READ_ONLY_CONTROL, [RH.OWNER], b"\1", [Password()])
    assert answer.rc == RC.VALUE | 0x100
