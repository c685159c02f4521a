"""Part 3, chapter 23: policyDigest recomputed with hashlib, response codes beside a real swtpm."""

import os
from dataclasses import replace
from operator import ge, gt, le, lt

import pytest

from tests.tpm.agreement import agreed, parameter_error
from tests.tpm.commands.nv_area import INDEX, OWNER_RW, Area, define, undefine, write
from tests.tpm.commands.policy_steps import (
    AUTH_VALUE,
    PASSWORD,
    PHYSICAL_PRESENCE,
    Assertion,
    bound,
    command_code,
    counter_timer,
    duplication,
    either,
    flush,
    locality,
    pcr,
    policy_digest,
    policy_of,
    session_with,
    transport_spdm,
    written,
)
from tests.tpm.harness import EnginePeer, Password, Result, Tester, digest, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CAP, CC, EO, PT, RH, SE

NAMES = os.urandom(34), os.urandom(34)
ALGORITHMS = [ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512]


def assertions(alg: int) -> list[Assertion]:
    """One of each that goes on from any policyDigest, on any TPM."""
    size = len(digest(alg))
    octets = os.urandom(size)
    return [
        AUTH_VALUE,
        PASSWORD,
        PHYSICAL_PRESENCE,
        command_code(CC.NV_READ),
        locality(0x1F),
        locality(0x80),
        written(0),
        written(1),
        bound(CC.POLICY_CP_HASH, octets),
        bound(CC.POLICY_NAME_HASH, octets),
        bound(CC.POLICY_TEMPLATE, octets),
        duplication(*NAMES, 0),
        duplication(*NAMES, 1),
        duplication(b"", b"", 1),
        counter_timer(alg, b"", 0, EO.EQ),
        counter_timer(alg, bytes(8), 0, EO.UNSIGNED_GE),
        counter_timer(alg, b"\xff" * 4, 16, EO.UNSIGNED_LT),
        pcr(alg, [bytes(32)]),
        pcr(alg, [bytes(32), bytes(32)], bits=0x800002),
    ]


@pytest.mark.parametrize("kind", [SE.POLICY, SE.TRIAL])
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_each_assertion_extends_the_digest(both: tuple[Tester, Tester], alg: ALG, kind: SE) -> None:
    for assertion in assertions(alg):
        for tester in both:
            session = session_with(tester, assertion, alg=alg, kind=kind)
            assert policy_digest(tester, session) == policy_of(alg, assertion), hex(assertion.code)
            flush(tester, session)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_assertions_add_up(both: tuple[Tester, Tester], alg: ALG) -> None:
    some = [
        pcr(alg, [bytes(32)]),
        PASSWORD,
        AUTH_VALUE,
        locality(0x3),
        locality(0x6),
        command_code(CC.UNSEAL),
        command_code(CC.UNSEAL),
        bound(CC.POLICY_CP_HASH, bytes(len(digest(alg)))),
        bound(CC.POLICY_CP_HASH, bytes(len(digest(alg)))),
        PHYSICAL_PRESENCE,
        written(1),
        written(1),
    ]
    for tester in both:
        session = session_with(tester, *some, alg=alg)
        assert policy_digest(tester, session) == policy_of(alg, *some)
        assert tester.run(CC.POLICY_RESTART, [session.handle]).rc == 0
        assert policy_digest(tester, session) == bytes(len(digest(alg)))


SIZE_1 = parameter_error(RC.SIZE, 1)
VALUE_1 = parameter_error(RC.VALUE, 1)
RANGE_1 = parameter_error(RC.RANGE, 1)
HASH = os.urandom(32)
CP_HASH = bound(CC.POLICY_CP_HASH, HASH)
NAME_HASH = bound(CC.POLICY_NAME_HASH, HASH)
TEMPLATE = bound(CC.POLICY_TEMPLATE, HASH)
PARAMETERS = bound(CC.POLICY_PARAMETERS, HASH)
DUPLICATION = duplication(*NAMES, 0)

REFUSALS: list[tuple[list[Assertion], Assertion, int]] = [
    ([], locality(0), RANGE_1),
    ([locality(1)], locality(2), RANGE_1),
    ([locality(3)], locality(0x20), RANGE_1),
    ([locality(0x20)], locality(3), RANGE_1),
    ([locality(0x20)], locality(0x21), RANGE_1),
    ([command_code(CC.UNSEAL)], command_code(CC.NV_READ), VALUE_1),
    ([DUPLICATION], command_code(CC.UNSEAL), VALUE_1),
    ([], command_code(0x123), parameter_error(RC.POLICY_CC, 1)),
    ([], command_code(0), parameter_error(RC.POLICY_CC, 1)),
    ([], command_code(0xFFFFFFFF), parameter_error(RC.POLICY_CC, 1)),
    ([], bound(CC.POLICY_CP_HASH, bytes(20)), SIZE_1),
    ([], bound(CC.POLICY_CP_HASH, b""), SIZE_1),
    ([], bound(CC.POLICY_NAME_HASH, bytes(33)), SIZE_1),
    ([], bound(CC.POLICY_TEMPLATE, b""), SIZE_1),
    ([], bound(CC.POLICY_TEMPLATE, bytes(48)), SIZE_1),
    ([CP_HASH], bound(CC.POLICY_CP_HASH, bytes(32)), RC.CPHASH),
    ([CP_HASH], NAME_HASH, RC.CPHASH),
    ([CP_HASH], TEMPLATE, RC.CPHASH),
    ([CP_HASH], DUPLICATION, RC.CPHASH),
    ([NAME_HASH], CP_HASH, RC.CPHASH),
    ([NAME_HASH], NAME_HASH, RC.CPHASH),
    ([NAME_HASH], TEMPLATE, RC.CPHASH),
    ([NAME_HASH], DUPLICATION, RC.CPHASH),
    ([TEMPLATE], CP_HASH, RC.CPHASH),
    ([TEMPLATE], NAME_HASH, RC.CPHASH),
    ([TEMPLATE], bound(CC.POLICY_TEMPLATE, bytes(32)), VALUE_1),
    ([DUPLICATION], CP_HASH, RC.CPHASH),
    ([DUPLICATION], DUPLICATION, RC.CPHASH),
    ([command_code(CC.DUPLICATE)], DUPLICATION, RC.COMMAND_CODE),
    ([written(0)], written(1), VALUE_1),
    ([written(1)], written(0), VALUE_1),
    ([], written(2), VALUE_1),
    ([], either(HASH), SIZE_1),
    ([], either(*[HASH] * 9), SIZE_1),
    ([], either(HASH, HASH), VALUE_1),
    ([], either(b"", bytes(31)), VALUE_1),
    ([], pcr(ALG.SHA256, [bytes(31)]), VALUE_1),
    ([], pcr(ALG.SHA1, [bytes(32)]), VALUE_1),
    ([], counter_timer(ALG.SHA256, b"", 26, EO.EQ), parameter_error(RC.VALUE, 2)),
    ([], counter_timer(ALG.SHA256, bytes(26), 0, EO.EQ), RC.RANGE),
    ([], counter_timer(ALG.SHA256, bytes(2), 24, EO.NEQ), RC.RANGE),
    ([], counter_timer(ALG.SHA256, b"\xff" * 8, 0, EO.EQ), RC.POLICY),
    ([], counter_timer(ALG.SHA256, b"", 0, 12), parameter_error(RC.VALUE, 3)),
]
CHANNEL = transport_spdm(ALG.SHA256, b"", b"")
KEYS = b"\x00\x0b" + HASH, b"\x00\x0c" + os.urandom(48)
NO_HASH = b"\x00\x10" + HASH
OF_185: list[tuple[list[Assertion], Assertion, int]] = [
    ([], bound(CC.POLICY_PARAMETERS, b""), SIZE_1),
    ([PARAMETERS], PARAMETERS, RC.CPHASH),
    ([PARAMETERS], CP_HASH, RC.CPHASH),
    ([CP_HASH], PARAMETERS, RC.CPHASH),
    ([TEMPLATE], PARAMETERS, RC.CPHASH),
    ([CHANNEL], CHANNEL, RC.VALUE),
    ([CHANNEL], transport_spdm(ALG.SHA256, *KEYS), RC.VALUE),
    ([], transport_spdm(ALG.SHA256, NO_HASH, b""), parameter_error(RC.HASH, 1)),
    ([], transport_spdm(ALG.SHA256, b"", NO_HASH), parameter_error(RC.HASH, 2)),
    ([], transport_spdm(ALG.SHA256, KEYS[0][:-1], b""), SIZE_1),
    ([], transport_spdm(ALG.SHA256, KEYS[0], KEYS[1] + b"x"), parameter_error(RC.SIZE, 2)),
]


def _id(value: object) -> str:
    return f"{value.code:x}" if isinstance(value, Assertion) else ""


@pytest.mark.parametrize(("before", "assertion", "rc"), REFUSALS, ids=_id)
def test_refusals(
    both: tuple[Tester, Tester], before: list[Assertion], assertion: Assertion, rc: int
) -> None:
    for tester in both:
        session = session_with(tester, *before)
        assert assertion.run(tester, session).rc == rc
        assert policy_digest(tester, session) == policy_of(ALG.SHA256, *before)


@pytest.mark.parametrize(("before", "assertion", "rc"), OF_185, ids=_id)
def test_refusals_of_newer_commands(
    tester: Tester, before: list[Assertion], assertion: Assertion, rc: int
) -> None:
    session = session_with(tester, *before)
    assert assertion.run(tester, session).rc == rc
    assert policy_digest(tester, session) == policy_of(ALG.SHA256, *before)


@pytest.mark.parametrize("kind", [SE.POLICY, SE.TRIAL])
@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("names", [(b"", b""), (KEYS[0], b""), (b"", KEYS[0]), KEYS])
def test_secure_channel_extends_the_digest(
    tester: Tester, alg: ALG, kind: SE, names: tuple[bytes, bytes]
) -> None:
    assertion = transport_spdm(alg, *names)
    session = session_with(tester, assertion, alg=alg, kind=kind)
    assert policy_digest(tester, session) == policy_of(alg, assertion)


def test_a_trial_session_checks_only_what_it_must(both: tuple[Tester, Tester]) -> None:
    """The same refusals in a trial session: what is immediate is not looked at."""
    for before, assertion, _ in REFUSALS:
        rcs = []
        for tester in both:
            session = session_with(tester, *before, kind=SE.TRIAL)
            rcs.append(assertion.run(tester, session).rc)
            flush(tester, session)
        assert rcs[0] == rcs[1], (hex(assertion.code), assertion.params.hex())


def test_or_of_branches(both: tuple[Tester, Tester]) -> None:
    branch = policy_of(ALG.SHA256, command_code(CC.NV_READ))
    for digests in ([branch, HASH], [HASH, branch], [HASH] * 7 + [branch], [branch, b"", b"x"]):
        one_of = either(*digests)
        for tester in both:
            session = session_with(tester, command_code(CC.NV_READ), one_of)
            assert policy_digest(tester, session) == one_of.next(ALG.SHA256, branch)
            flush(tester, session)


@pytest.mark.parametrize("kind", [SE.POLICY, SE.TRIAL])
def test_pcr_selections(both: tuple[Tester, Tester], kind: SE) -> None:
    """PCRs that don't exist, several banks, no expected digest: the same policyDigest."""
    value = digest(ALG.SHA256, bytes(32), b"\x01" * 32)
    extend = (1).to_bytes(4) + ALG.SHA256.to_bytes(2) + b"\x01" * 32
    for tester in both:
        assert tester.run(CC.PCR_EXTEND, [16], extend, [Password()]).rc == 0
    selections = {
        bytes(4): b"",
        bytes.fromhex("00000001 000b 03 000001"): value,
        bytes.fromhex("00000001 000b 03 000000"): b"",
        bytes.fromhex("00000002 000b 03 000001 0004 03 010000"): value + bytes(20),
        bytes.fromhex("00000001 0012 03 010000"): b"",
        bytes.fromhex("00000001 000b 02 0100"): b"",
        bytes.fromhex("00000001 000b 04 01000000"): b"",
    }
    for selection, values in selections.items():
        for expected in (b"", digest(ALG.SHA256, values), bytes(32), bytes(20)):
            results = []
            for tester in both:
                session = tester.start_session(kind)
                params = sized(expected) + selection
                result = tester.run(CC.POLICY_PCR, [session.handle], params)
                results.append((result.rc, policy_digest(tester, session)))
                if result.rc == 0:
                    used = expected if kind == SE.TRIAL and expected else digest(ALG.SHA256, values)
                    step = Assertion(CC.POLICY_PCR, extends=selection + used)
                    assert results[-1][1] == policy_of(ALG.SHA256, step)
                flush(tester, session)
            assert results[0] == results[1], (selection.hex(), expected.hex())


def test_pcrs_that_change_between_assertions(both: tuple[Tester, Tester]) -> None:
    extend = (1).to_bytes(4) + ALG.SHA256.to_bytes(2) + bytes(32)
    current = Assertion(CC.POLICY_PCR, bytes(2) + bytes.fromhex("00000001 000b 03 010000"))
    for tester in both:
        # libtpms takes a counter of 0 for none, so that the first change must have been before.
        assert tester.run(CC.PCR_EXTEND, [5], extend, [Password()]).rc == 0
        session = session_with(tester, current, current)
        assert tester.run(CC.PCR_EXTEND, [5], extend, [Password()]).rc == 0
        before = policy_digest(tester, session)
        assert current.run(tester, session).rc == RC.PCR_CHANGED
        assert policy_digest(tester, session) == before


OPERANDS = [
    bytes(8),
    (1).to_bytes(8),
    b"\x7f" + b"\xff" * 7,
    b"\x80" + bytes(7),
    b"\xff" * 8,
    b"\xff" * 7 + b"\xfe",
    b"\x80" + bytes(6) + b"\x01",
    bytes.fromhex("0102030405060708"),
    bytes.fromhex("00ff00ff00ff00ff"),
]


SIGNED = {EO.SIGNED_GT: gt, EO.SIGNED_LT: lt, EO.SIGNED_GE: ge, EO.SIGNED_LE: le}


def test_comparisons(both: tuple[Tester, Tester]) -> None:
    """Every operator on octets that differ as signed and unsigned numbers, and as bits."""
    for tester in both:
        assert define(tester, Area(OWNER_RW)).rc == 0
    for value in OPERANDS:
        assert agreed(both, write, value, by=RH.OWNER).rc == 0
        for operand, operation in ((b, op) for b in [*OPERANDS, b"", b"\x80"] for op in EO):
            ours, theirs = (compare(tester, operand, operation) for tester in both)
            signed = [int.from_bytes(x, signed=True) for x in (value[: len(operand)], operand)]
            if operation in SIGNED:
                assert (ours == 0) == SIGNED[operation](*signed)
                if max(signed) < 0:
                    # Before version 1.83, numbers were signs and magnitudes.
                    continue
            assert ours == theirs, (value.hex(), operand.hex(), operation)


def compare(tester: Tester, operand: bytes, operation: int) -> int:
    """The response code of TPM2_PolicyNV; policyDigest is looked after."""
    session = tester.start_session(SE.POLICY)
    rest = bytes(2) + operation.to_bytes(2)
    params, handles = sized(operand) + rest, [RH.OWNER, INDEX, session.handle]
    result = tester.run(CC.POLICY_NV, handles, params, [Password()])
    name = Area(OWNER_RW).name(more=TPMA_NV.WRITTEN)
    step = Assertion(CC.POLICY_NV, extends=digest(ALG.SHA256, operand, rest) + name)
    expected = bytes(32) if result.rc else policy_of(ALG.SHA256, step)
    assert policy_digest(tester, session) == expected
    flush(tester, session)
    assert result.rc in (0, RC.POLICY)
    return result.rc


def test_what_policies_may_read(both: tuple[Tester, Tester]) -> None:
    area = Area(OWNER_RW)

    def look(tester: Tester, kind: int, params: bytes, authority: int = RH.OWNER) -> Result:
        session = tester.start_session(kind)
        handles = [authority, INDEX, session.handle]
        result = tester.run(CC.POLICY_NV, handles, params, [Password()])
        flush(tester, session)
        return result

    equal = EO.EQ.to_bytes(2)
    assert agreed(both, define, area).rc == 0
    for kind in (SE.POLICY, SE.TRIAL):
        agreed(both, look, kind, sized(bytes(8)) + bytes(2) + equal)
    assert agreed(both, write, bytes(8), by=RH.OWNER).rc == 0
    for kind in (SE.POLICY, SE.TRIAL):
        for authority in (RH.OWNER, RH.PLATFORM, INDEX):
            agreed(both, look, kind, sized(bytes(8)) + bytes(2) + equal, authority)
        for size, offset in ((8, 1), (0, 8), (0, 9), (1, 8), (64, 0), (65, 0)):
            params = sized(bytes(size)) + offset.to_bytes(2) + equal
            agreed(both, look, kind, params)


def test_policy_in_an_index(both: tuple[Tester, Tester]) -> None:
    area = Area(OWNER_RW, 40)
    approved = policy_of(ALG.SHA256, AUTH_VALUE)
    good = ALG.SHA256.to_bytes(2) + approved + b"extra!"
    contents = {
        good: 0,
        ALG.SHA256.to_bytes(2) + bytes(38): RC.VALUE,
        ALG.SHA1.to_bytes(2) + approved + bytes(6): RC.HASH,
        ALG.SM3_256.to_bytes(2) + bytes(38): RC.HASH,
        ALG.NULL.to_bytes(2) + bytes(38): RC.HASH,
        ALG.SHA512.to_bytes(2) + bytes(38): RC.INSUFFICIENT,
    }

    def authorize(tester: Tester, kind: int, expected: bytes | None) -> Result:
        session = session_with(tester, AUTH_VALUE, kind=kind)
        handles = [RH.OWNER, INDEX, session.handle]
        result = tester.run(CC.POLICY_AUTHORIZE_NV, handles, b"", [Password()])
        if expected is not None:
            assert policy_digest(tester, session) == expected
        flush(tester, session)
        return result

    assert agreed(both, define, area).rc == 0
    assert agreed(both, authorize, SE.POLICY, approved).rc == RC.NV_UNINITIALIZED
    for octets, rc in contents.items():
        assert agreed(both, write, octets, by=RH.OWNER).rc == 0
        name = area.name(more=TPMA_NV.WRITTEN)
        accepted = digest(ALG.SHA256, bytes(32), CC.POLICY_AUTHORIZE_NV.to_bytes(4), name)
        expected = approved if rc else accepted
        assert agreed(both, authorize, SE.POLICY, expected).rc == rc
        assert agreed(both, authorize, SE.TRIAL, accepted).rc == 0
    assert agreed(both, undefine).rc == 0
    for size in (1, 2, 33):
        assert agreed(both, define, replace(area, size=size)).rc == 0
        assert agreed(both, write, good[:size], by=RH.OWNER).rc == 0
        assert agreed(both, authorize, SE.POLICY, approved).rc == RC.INSUFFICIENT
        assert agreed(both, undefine).rc == 0


def test_clock_and_counters(tester: Tester, engine_peer: EnginePeer) -> None:
    """Each part of TPMS_TIME_INFO against what TPM2_ReadClock reports of it."""
    engine_peer.clock.milliseconds += 123456
    info = tester.run(CC.READ_CLOCK).parameters
    assert len(info) == 25
    for offset, size in ((0, 8), (8, 8), (16, 4), (20, 4), (24, 1), (0, 25), (3, 7)):
        part = info[offset : offset + size]
        session = session_with(tester, counter_timer(ALG.SHA256, part, offset, EO.EQ))
        assert counter_timer(ALG.SHA256, part, offset, EO.NEQ).run(tester, session).rc == RC.POLICY
        flush(tester, session)


def capability(operand: bytes, offset: int, operation: int, group: int, tag: int) -> Assertion:
    """TPM2_PolicyCapability."""
    rest = offset.to_bytes(2) + operation.to_bytes(2) + group.to_bytes(4) + tag.to_bytes(4)
    params = sized(operand) + rest
    return Assertion(CC.POLICY_CAPABILITY, params, digest(ALG.SHA256, operand, rest))


REVISION = PT.REVISION.to_bytes(4) + (185).to_bytes(4)
CAPABILITIES = [
    (capability((185).to_bytes(4), 4, EO.EQ, CAP.TPM_PROPERTIES, PT.REVISION), 0),
    (capability(REVISION, 0, EO.EQ, CAP.TPM_PROPERTIES, PT.REVISION), 0),
    (capability((185).to_bytes(4), 4, EO.UNSIGNED_LT, CAP.TPM_PROPERTIES, PT.REVISION), RC.POLICY),
    (capability((186).to_bytes(4), 4, EO.UNSIGNED_LT, CAP.TPM_PROPERTIES, PT.REVISION), 0),
    (capability(b"", 9, EO.EQ, CAP.TPM_PROPERTIES, PT.REVISION), parameter_error(RC.VALUE, 2)),
    (capability(b"12345", 4, EO.EQ, CAP.TPM_PROPERTIES, PT.REVISION), SIZE_1),
    (capability(b"", 0, EO.EQ, CAP.TPM_PROPERTIES, 0x7FFFFFFF), RC.POLICY),
    (capability(b"", 0, EO.NEQ, CAP.TPM_PROPERTIES, 0x7FFFFFFF), 0),
    (capability(b"\x00\x0b\0\0\0\x04", 0, EO.EQ, CAP.ALGS, ALG.SHA256), 0),
    (capability(b"", 0, EO.EQ, CAP.ALGS, ALG.SM4), RC.POLICY),
    (capability(CC.NV_READ.to_bytes(2), 2, EO.EQ, CAP.COMMANDS, CC.NV_READ), 0),
    (capability(RH.OWNER.to_bytes(4), 0, EO.EQ, CAP.HANDLES, RH.OWNER), 0),
    (capability(INDEX.to_bytes(4), 0, EO.EQ, CAP.HANDLES, INDEX), RC.POLICY),
    (capability(b"\x00\x03", 0, EO.EQ, CAP.ECC_CURVES, 3), 0),
    (capability(b"", 0, EO.EQ, CAP.HANDLES, 0x90000000), parameter_error(RC.HANDLE, 5)),
    (capability(b"", 0, EO.EQ, CAP.AUTH_POLICIES, 0), parameter_error(RC.VALUE, 5)),
    (capability(b"", 0, EO.EQ, CAP.PCRS, 0), parameter_error(RC.VALUE, 4)),
    (capability(b"", 0, EO.EQ, 0x55, 0), parameter_error(RC.VALUE, 4)),
]


@pytest.mark.parametrize(("assertion", "rc"), CAPABILITIES)
def test_capabilities_in_policies(tester: Tester, assertion: Assertion, rc: int) -> None:
    session = tester.start_session(SE.POLICY)
    assert assertion.run(tester, session).rc == rc
    expected = bytes(32) if rc else policy_of(ALG.SHA256, assertion)
    assert policy_digest(tester, session) == expected
    trial = tester.start_session(SE.TRIAL)
    if assertion.params[-8:-4] != (0x55).to_bytes(4):
        assert assertion.run(tester, trial).rc == 0
        assert policy_digest(tester, trial) == policy_of(ALG.SHA256, assertion)


def test_handles_that_are_no_policy_session(both: tuple[Tester, Tester]) -> None:
    hmac = [tester.start_session(SE.HMAC) for tester in both]
    assert hmac[0].handle == hmac[1].handle
    for handle in (hmac[0].handle, 0x03000000, 0x03000005, 0x03FFFFFF, RH.RS_PW, RH.OWNER, 0):
        agreed(both, Tester.run, CC.POLICY_AUTH_VALUE, [handle])
        agreed(both, Tester.run, CC.POLICY_GET_DIGEST, [handle])


def test_time_and_clock_that_stand_still_are_not_compared(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    """Part 1, 34.7.2.2: while the host can't store; the counters behind them can be."""
    engine_peer.engine.nv_available = False
    session = tester.start_session(SE.POLICY)
    trial = tester.start_session(SE.TRIAL)
    for offset in (0, 8, 15):
        unsafe = counter_timer(ALG.SHA256, b"", offset, EO.EQ)
        assert unsafe.run(tester, session).rc == RC.NV_UNAVAILABLE
        assert unsafe.run(tester, trial).rc == 0
    assert policy_digest(tester, session) == bytes(32)
    counters = counter_timer(ALG.SHA256, b"", 16, EO.EQ)
    assert counters.run(tester, session).rc == 0
    beyond = counter_timer(ALG.SHA256, bytes(26), 0, EO.EQ)
    assert beyond.run(tester, session).rc == RC.RANGE
    engine_peer.engine.nv_available = True
    assert counter_timer(ALG.SHA256, b"", 0, EO.EQ).run(tester, session).rc == 0
