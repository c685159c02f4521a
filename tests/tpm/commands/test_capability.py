"""Part 3, chapter 30: what a TPM tells of itself is what swtpm tells, or is true."""

import itertools
import struct

import pytest

from tests.tpm import areas
from tests.tpm.agreement import agreed, parameter_error
from tests.tpm.harness import EnginePeer, Password, Result, Tester, sized
from vtpmd.tpm.command import attributes_of_commands
from vtpmd.tpm.profile import PROFILES
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_CC
from vtpmd.tpm.wire.constants import ALG, CAP, CC, ECC_CURVE, PT, RH, SE

Both = tuple[Tester, Tester]
COMMANDS = attributes_of_commands(PROFILES["default-v1"])
CODE = TPMA_CC.COMMAND_INDEX | TPMA_CC.V

ELEMENT_SIZES = {
    CAP.ALGS: 6,
    CAP.HANDLES: 4,
    CAP.COMMANDS: 4,
    CAP.PP_COMMANDS: 4,
    CAP.AUDIT_COMMANDS: 4,
    CAP.TPM_PROPERTIES: 8,
    CAP.PCR_PROPERTIES: 8,
    CAP.ECC_CURVES: 2,
}
OWN_PROPERTIES = {
    *(PT.REVISION, PT.ERRATA, PT.YEAR, PT.MANUFACTURER, PT.VENDOR_STRING_1, PT.VENDOR_STRING_2),
    *(PT.FIRMWARE_VERSION_1, PT.FIRMWARE_VERSION_2, PT.CONTEXT_GAP_MAX, PT.MEMORY),
    *(PT.CLOCK_UPDATE, PT.MAX_OBJECT_CONTEXT, PT.MAX_SESSION_CONTEXT, PT.PS_FAMILY_INDICATOR),
    *(PT.PS_REVISION, PT.PS_DAY_OF_YEAR, PT.PS_YEAR),
    *(PT.TOTAL_COMMANDS, PT.LIBRARY_COMMANDS, PT.VENDOR_COMMANDS),
    *(PT.HR_PERSISTENT, PT.HR_PERSISTENT_AVAIL, PT.NV_COUNTERS_AVAIL, PT.LOADED_CURVES),
}
"""What is not as in swtpm: who made it, and what there is room for."""


def ask(tester: Tester, capability: int, first: int = 0, count: int = 0xFFFF) -> Result:
    params = struct.pack(">III", capability, first, count)
    return tester.run(CC.GET_CAPABILITY, params=params)


def elements(tester: Tester, capability: int, first: int = 0, count: int = 0xFFFF) -> list[bytes]:
    """The elements of a list; their number is what the list says."""
    answer = ask(tester, capability, first, count).parameters
    (number,) = struct.unpack_from(">I", answer, 5)
    size = ELEMENT_SIZES[CAP(capability)]
    assert len(answer) == 9 + number * size
    return [answer[start : start + size] for start in range(9, len(answer), size)]


def pairs(tester: Tester, capability: int, first: int = 0) -> dict[int, int]:
    return {
        int.from_bytes(element[:-4]): int.from_bytes(element[-4:])
        for element in elements(tester, capability, first)
    }


def all_properties(tester: Tester) -> dict[int, int]:
    return pairs(tester, CAP.TPM_PROPERTIES, 0x100) | pairs(tester, CAP.TPM_PROPERTIES, 0x200)


@pytest.fixture
def furnished(both: Both) -> Both:
    """Objects, sessions and saved sessions in both."""
    for tester in both:
        areas.loaded_primary(tester, areas.storage())
        for kind in (SE.POLICY, SE.HMAC, SE.POLICY):
            started = tester.start_session(kind)
            if kind == SE.POLICY:
                assert tester.run(CC.CONTEXT_SAVE, [started.handle]).rc == 0
    return both


def is_timer(handle: bytes) -> bool:
    """libtpms 0.9.2 has no countdown timers."""
    return RH.ACT_0 <= int.from_bytes(handle) <= RH.ACT_F


def policies(tester: Tester, first: int, count: int = 0xFFFF) -> dict[bytes, bytes]:
    """Handles with their TPMT_HA."""
    answer = ask(tester, CAP.AUTH_POLICIES, first, count).parameters
    found, start = {}, 9
    while start < len(answer):
        alg = int.from_bytes(answer[start + 4 : start + 6])
        end = start + 6 + {ALG.NULL: 0, ALG.SHA256: 32}[ALG(alg)]
        found[answer[start : start + 4]] = answer[start + 4 : end]
        start = end
    assert len(found) == int.from_bytes(answer[5:9])
    return found


def test_unknown_capabilities(both: Both) -> None:
    for capability in (0xD, 0x80, 0xFF, 0x100, 0x101, 0xFFFFFFFF):
        assert agreed(both, ask, capability).rc == parameter_error(RC.VALUE, 1)


@pytest.mark.parametrize("capability", range(10))
def test_boundaries(furnished: Both, capability: int) -> None:
    """Every start and count: code, moreData and how many, for what both list alike."""
    starts: tuple[int, ...] = (0, 1, 5, 0x100, 0x11F, 0x1A9, 0x1FF, 0x02000000, 0x02000001)
    starts += (
        0x03000000,
        0x03000001,
        0x03000002,
        0x40000000,
        0x4000000C,
        0x4000000D,
        0x80000000,
        0x80000001,
        0xFFFFFFFF,
    )
    for first, count in itertools.product(starts, (0, 1, 2, 3, 0xFFFF, 0xFFFFFFFF)):
        if capability in (CAP.ALGS, CAP.ECC_CURVES) and first > 0xFFFF:
            continue  # libtpms looks at the low half only
        answers = [ask(tester, capability, first, count) for tester in furnished]
        assert answers[0].rc == answers[1].rc
        if capability == CAP.HANDLES and first >> 24 == 0x40:
            ours, theirs = (elements(tester, capability, first) for tester in furnished)
            assert [handle for handle in ours if not is_timer(handle)] == theirs
        elif capability in (CAP.HANDLES, CAP.PP_COMMANDS, CAP.AUDIT_COMMANDS, CAP.PCRS):
            assert answers[0] == answers[1], (hex(first), count)
        if capability == CAP.AUTH_POLICIES and not answers[0].rc:
            own, others = (policies(tester, first) for tester in furnished)
            assert [item for item in own.items() if not is_timer(item[0])] == [*others.items()]
            assert policies(furnished[0], first, count) == dict([*own.items()][:count])


@pytest.mark.parametrize("capability", ELEMENT_SIZES)
def test_a_list_in_pieces_is_the_list(tester: Tester, capability: int) -> None:
    first = {CAP.HANDLES: 0x40000000, CAP.TPM_PROPERTIES: 0x100}.get(CAP(capability), 0)
    mask = CODE if capability == CAP.COMMANDS else 0xFFFFFFFF
    size = 2 if capability in (CAP.ALGS, CAP.ECC_CURVES) else 4
    pieces: list[bytes] = []
    more = 1
    while more:
        answer = ask(tester, capability, first, 2).parameters
        more = answer[0]
        found = elements(tester, capability, first, 2)
        assert len(found) == 2 or not more
        pieces += found
        first = (int.from_bytes(pieces[-1][:size]) & mask) + 1
    start = {CAP.HANDLES: 0x40000000, CAP.TPM_PROPERTIES: 0x100}.get(CAP(capability), 0)
    whole = elements(tester, capability, start)
    assert pieces[: len(whole)] == whole
    tags = [int.from_bytes(piece[:size]) & mask for piece in pieces]
    assert sorted(tags) == tags


def test_algorithms(both: Both) -> None:
    """Attributes as in swtpm, for what both have."""
    ours, theirs = (pairs(tester, CAP.ALGS) for tester in both)
    assert {alg: ours[alg] for alg in ours.keys() & theirs} == {
        alg: theirs[alg] for alg in ours.keys() & theirs
    }
    assert theirs.keys() - ours == {ALG.TDES, ALG.SM2, ALG.ECMQV}


def test_command_attributes(both: Both) -> None:
    ours, theirs = ({value & CODE: value for value in pairs_of_commands(tester)} for tester in both)
    common = ours.keys() & theirs
    assert {CC(c).name: hex(ours[c]) for c in common} == {
        CC(c).name: hex(theirs[c]) for c in common
    }
    assert ours.keys() == set(COMMANDS)
    assert theirs.keys() <= ours.keys()


def pairs_of_commands(tester: Tester) -> list[int]:
    return [int.from_bytes(element) for element in elements(tester, CAP.COMMANDS)]


def test_pcr_properties(both: Both) -> None:
    assert pairs(both[0], CAP.PCR_PROPERTIES) == pairs(both[1], CAP.PCR_PROPERTIES)


def test_curves(tester: Tester) -> None:
    curves = [int.from_bytes(element) for element in elements(tester, CAP.ECC_CURVES)]
    assert curves == [ECC_CURVE.NIST_P256, ECC_CURVE.NIST_P384, ECC_CURVE.NIST_P521]


def test_properties(both: Both) -> None:
    ours, theirs = map(all_properties, both)
    assert ours.keys() == theirs.keys()
    different = {PT(tag) for tag in ours if ours[tag] != theirs[tag]}
    assert different <= OWN_PROPERTIES


def test_there_is_no_secure_channel(tester: Tester) -> None:
    empty = ask(tester, CAP.SPDM_SESSION_INFO)
    assert (empty.rc, empty.parameters) == (0, struct.pack(">BII", 0, CAP.SPDM_SESSION_INFO, 0))
    assert ask(tester, CAP.SPDM_SESSION_INFO, 1).rc == parameter_error(RC.VALUE, 2)
    for key in (0, 1, 0xFF, 0x100):
        assert ask(tester, CAP.PUB_KEYS, key).rc == parameter_error(RC.VALUE, 2)


def test_properties_are_true(tester: Tester) -> None:
    found = all_properties(tester)
    assert found[PT.TOTAL_COMMANDS] == len(COMMANDS)
    of_vendors = [code for code in COMMANDS if code & TPMA_CC.V]
    assert found[PT.VENDOR_COMMANDS] == len(of_vendors) > 0
    assert found[PT.LIBRARY_COMMANDS] == len(COMMANDS) - len(of_vendors)
    assert found[PT.REVISION] == 185
    assert found[PT.HR_TRANSIENT_AVAIL] == found[PT.HR_TRANSIENT_MIN] == 3
    handles = [areas.loaded_primary(tester, areas.storage()) for _ in range(3)]
    sessions = [tester.start_session() for _ in range(3)]
    assert tester.run(CC.CONTEXT_SAVE, [sessions[0].handle]).rc == 0
    found = all_properties(tester)
    assert found[PT.HR_TRANSIENT_AVAIL] == 0
    assert (found[PT.HR_LOADED], found[PT.HR_LOADED_AVAIL]) == (2, 1)
    assert (found[PT.HR_ACTIVE], found[PT.HR_ACTIVE_AVAIL]) == (3, 61)
    persistent = found[PT.HR_PERSISTENT]
    stored = (0x81000020).to_bytes(4)
    assert tester.run(CC.EVICT_CONTROL, [RH.OWNER, handles[0]], stored, [Password()]).rc == 0
    found = all_properties(tester)
    assert found[PT.HR_PERSISTENT] == persistent + 1
    assert found[PT.MAX_RESPONSE_SIZE] == found[PT.MAX_COMMAND_SIZE] == 4096


def test_permanent_attributes(both: Both) -> None:
    def permanent(tester: Tester) -> Result:
        return ask(tester, CAP.TPM_PROPERTIES, PT.PERMANENT, 2)

    assert agreed(both, permanent).rc == 0
    for handle in (RH.OWNER, RH.ENDORSEMENT, RH.LOCKOUT):
        for tester in both:
            tester.run(CC.HIERARCHY_CHANGE_AUTH, [handle], sized(b"x"), [Password()])
        agreed(both, permanent)
    for tester in both:
        assert tester.run(CC.CLEAR_CONTROL, [RH.PLATFORM], b"\x01", [Password()]).rc == 0
    value = int.from_bytes(agreed(both, permanent).parameters[13:17])
    assert value == 0x507


def test_policies_of_permanent_handles(both: Both) -> None:
    for handle in (RH.OWNER, RH.LOCKOUT):
        for tester in both:
            params = sized(bytes(range(32))) + b"\x00\x0b"
            assert tester.run(CC.SET_PRIMARY_POLICY, [handle], params, [Password()]).rc == 0
    for first in (0x40000000, RH.OWNER, RH.LOCKOUT, RH.PLATFORM, 0x4000000D):
        ours, theirs = (policies(tester, first) for tester in both)
        assert [item for item in ours.items() if not is_timer(item[0])] == [*theirs.items()]


def test_policies_of_countdown_timers(tester: Tester) -> None:
    policy = b"\x00\x0b" + bytes(range(32))
    timers = [handle.to_bytes(4) for handle in range(RH.ACT_0, RH.ACT_F + 1)]
    params = sized(policy[2:]) + policy[:2]
    assert tester.run(CC.SET_PRIMARY_POLICY, [RH.ACT_0 + 3], params, [Password()]).rc == 0
    told = policies(tester, RH.ACT_0) | policies(tester, RH.ACT_0 + 8)
    assert told == dict.fromkeys(timers, b"\x00\x10") | {timers[3]: policy}
    (listed,) = struct.unpack_from(">I", ask(tester, CAP.HANDLES, RH.ACT_0).parameters, 5)
    assert listed == len(timers)


def test_countdown_timers(tester: Tester) -> None:
    """Twelve octets each; the property is a permanent handle (30.2)."""
    for first, count in (
        *((0x40000000, 16), (RH.ACT_0, 16), (RH.ACT_0 + 5, 11)),
        *((RH.ACT_F, 1), (RH.ACT_F + 1, 0), (0x40FFFFFF, 0)),
    ):
        answer = ask(tester, CAP.ACT, first)
        assert answer.parameters[:9] == struct.pack(">BII", 0, CAP.ACT, count)
        assert len(answer.parameters) == 9 + 12 * count
    for first in (0, 0x3FFFFFFF, 0x41000000, 0x80000000):
        assert ask(tester, CAP.ACT, first).rc == parameter_error(RC.VALUE, 2)
        assert ask(tester, CAP.AUTH_POLICIES, first).rc == parameter_error(RC.VALUE, 2)


def test_handles_of_nv_that_there_is_none_of(tester: Tester) -> None:
    """External and permanent NV (version 184) has handles, and no index can be defined there."""
    for kind in (0x11, 0x12):
        assert elements(tester, CAP.HANDLES, kind << 24) == []
    for kind in (0x10, 0x13, 0x7F, 0x82, 0x90, 0xFF):
        assert ask(tester, CAP.HANDLES, kind << 24).rc == parameter_error(RC.HANDLE, 2)


def test_parameters_that_are_supported(both: Both) -> None:
    for params in (
        areas.words(ALG.RSA) + areas.NONE * 2 + b"\x08\x00" + bytes(4),
        areas.words(ALG.RSA) + areas.NONE * 2 + b"\x08\x01" + bytes(4),
        areas.words(ALG.ECC) + areas.NONE * 2 + b"\x00\x03" + areas.NONE,
        areas.words(ALG.ECC) + areas.NONE * 2 + b"\x00\x99" + areas.NONE,
        areas.words(ALG.SYMCIPHER) + areas.AES_128_CFB,
        areas.words(ALG.SYMCIPHER, ALG.AES, 127, ALG.CFB),
        areas.words(ALG.KEYEDHASH, ALG.HMAC, ALG.SHA256),
        areas.words(ALG.KEYEDHASH, ALG.HMAC, ALG.NULL),
        areas.words(ALG.NULL),
        areas.words(0x99),
        b"",
    ):
        agreed(both, Tester.run, CC.TEST_PARMS, [], params)


def test_capabilities_in_failure_mode(tester: Tester, engine_peer: EnginePeer) -> None:
    engine_peer.engine.enter_failure_mode()
    assert all_properties(tester)[PT.REVISION] == 185
    assert tester.run(CC.GET_RANDOM, params=b"\x00\x01").rc == RC.FAILURE
