"""Part 3, chapter 24: hierarchies, their control and their end (CreatePrimary: with objects)."""

import itertools
import struct

import pytest

from tests.tpm import areas
from tests.tpm.agreement import agreed, parameter_error
from tests.tpm.harness import EnginePeer, Password, Result, Tester, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CC, PT, RH, SE, SU

Both = tuple[Tester, Tester]

HIERARCHIES = (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM, RH.LOCKOUT, RH.NULL, 0x4000000D, 0)
OWNER_INDEX, PLATFORM_INDEX = 0x01500000, 0x01400000


def state(tester: Tester) -> list[int]:
    """TPM_PT_PERMANENT and TPM_PT_STARTUP_CLEAR, without tpmGeneratedEPS and orderly."""
    params = struct.pack(">III", 6, PT.PERMANENT, 2)
    told = tester.run(CC.GET_CAPABILITY, params=params).parameters
    return [int.from_bytes(told[13:17]) & 0x3FF, int.from_bytes(told[21:25]) & 0xFFFF]


def property_of(tester: Tester, tag: int) -> int:
    """One TPM property."""
    params = struct.pack(">III", 6, tag, 1)
    return int.from_bytes(tester.run(CC.GET_CAPABILITY, params=params).parameters[-4:])


def define(tester: Tester, index: int) -> None:
    auth = RH.PLATFORM if index == PLATFORM_INDEX else RH.OWNER
    attributes = TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPMA_NV.NO_DA
    attributes |= TPMA_NV.PLATFORMCREATE if index == PLATFORM_INDEX else 0
    public = struct.pack(">IHIHH", index, ALG.SHA256, attributes, 0, 8)
    params = sized(b"") + sized(public)
    assert tester.run(CC.NV_DEFINE_SPACE, [auth], params, [Password()]).rc == 0


def furnish(tester: Tester) -> dict[str, int]:
    """An object, transient and persistent, of each hierarchy, and indices."""
    handles = {}
    for number, hierarchy in enumerate((RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM)):
        made = areas.create_primary(tester, areas.storage(), hierarchy=hierarchy)
        assert made.handle is not None
        auth = RH.PLATFORM if hierarchy == RH.PLATFORM else RH.OWNER
        persistent = 0x81800000 if hierarchy == RH.PLATFORM else 0x81000010 + number
        params = persistent.to_bytes(4)
        stored = tester.run(CC.EVICT_CONTROL, [auth, made.handle], params, [Password()])
        assert stored.rc == 0
        handles[f"{hierarchy.name} transient"] = made.handle
        handles[f"{hierarchy.name} persistent"] = persistent
    define(tester, OWNER_INDEX)
    define(tester, PLATFORM_INDEX)
    tester.names.clear()
    return handles


def present(tester: Tester, handles: dict[str, int]) -> set[str]:
    """What is still there; the persistent objects one by one, as libtpms needs slots for them."""
    found = {
        name
        for name, handle in handles.items()
        if "transient" in name and tester.run(CC.READ_PUBLIC, [handle]).rc == 0
    }
    listed = tester.run(CC.GET_CAPABILITY, params=struct.pack(">III", 1, 0x81000010, 99))
    kept = listed.parameters[9:]
    persistent = [int.from_bytes(kept[n : n + 4]) for n in range(0, len(kept), 4)]
    found |= {name for name, handle in handles.items() if handle in persistent}
    for index in (OWNER_INDEX, PLATFORM_INDEX):
        if tester.run(CC.NV_READ_PUBLIC, [index]).rc == 0:
            found.add(hex(index))
    return found


@pytest.mark.parametrize(
    ("code", "auth", "gone"),
    [
        (CC.CLEAR, RH.LOCKOUT, {"OWNER", "ENDORSEMENT", hex(OWNER_INDEX)}),
        (CC.CLEAR, RH.PLATFORM, {"OWNER", "ENDORSEMENT", hex(OWNER_INDEX)}),
        (CC.CHANGE_EPS, RH.PLATFORM, {"ENDORSEMENT"}),
        (CC.CHANGE_PPS, RH.PLATFORM, {"PLATFORM"}),
    ],
)
def test_what_goes_with_a_seed(both: Both, code: CC, auth: int, gone: set[str]) -> None:
    found = []
    for tester in both:
        handles = furnish(tester)
        policy = sized(bytes(range(32))) + b"\0\x0b"
        for handle in (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM, RH.LOCKOUT):
            changed = tester.run(CC.SET_PRIMARY_POLICY, [handle], policy, [Password()])
            assert changed.rc == 0
        for handle in (RH.OWNER, RH.ENDORSEMENT):
            tester.run(CC.HIERARCHY_CHANGE_AUTH, [handle], sized(b"x"), [Password()])
        for enable in (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM_NV):
            params = enable.to_bytes(4) + b"\0"
            assert tester.run(CC.HIERARCHY_CONTROL, [RH.PLATFORM], params, [Password()]).rc == 0
            # What is disabled is flushed; what is changed by the command is enabled by it.
        assert tester.run(code, [auth], auths=[Password()]).rc == 0
        after = state(tester)
        for enable in (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM_NV):
            params = enable.to_bytes(4) + b"\1"
            assert tester.run(CC.HIERARCHY_CONTROL, [RH.PLATFORM], params, [Password()]).rc == 0
        policies = tester.run(CC.GET_CAPABILITY, params=struct.pack(">III", 9, 0x40000000, 4))
        # The first octet says that we have more, the policies of countdown timers.
        found.append((present(tester, handles), after, policies.parameters[1:]))
    assert found[0] == found[1]
    left = {name.split()[0] for name in found[0][0]}
    assert not left & gone
    assert f"{hex(PLATFORM_INDEX)}" in left


def test_clear(both: Both) -> None:
    """Authorizations, policies, the clock and the counters are those of a new owner."""
    found = []
    for tester in both:
        for handle in (RH.OWNER, RH.ENDORSEMENT, RH.LOCKOUT):
            tester.run(CC.HIERARCHY_CHANGE_AUTH, [handle], sized(b"x"), [Password()])
        params = struct.pack(">III", 9, 9, 9)
        lockout = [Password(b"x")]
        code = CC.DICTIONARY_ATTACK_PARAMETERS
        assert tester.run(code, [RH.LOCKOUT], params, lockout).rc == 0
        far = (1 << 40).to_bytes(8)
        assert tester.run(CC.CLOCK_SET, [RH.OWNER], far, [Password(b"x")]).rc == 0
        audited = struct.pack(">HIII", ALG.NULL, 1, CC.GET_RANDOM, 0)
        code = CC.SET_COMMAND_CODE_AUDIT_STATUS
        assert tester.run(code, [RH.OWNER], audited, [Password(b"x")]).rc == 0
        assert tester.run(CC.GET_RANDOM, params=b"\0\1").rc == 0
        assert property_of(tester, PT.AUDIT_COUNTER_1) == 1
        before = int.from_bytes(tester.run(CC.PCR_READ, params=bytes(4)).parameters[:4])
        assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=lockout).rc == 0
        counted = int.from_bytes(tester.run(CC.PCR_READ, params=bytes(4)).parameters[:4])
        _, clock, resets, restarts, safe = struct.unpack(
            ">QQIIB", tester.run(CC.READ_CLOCK).parameters
        )
        assert clock < 1 << 20
        params = struct.pack(">III", 6, PT.LOCKOUT_COUNTER, 4)
        attack = tester.run(CC.GET_CAPABILITY, params=params).parameters
        audit = property_of(tester, PT.AUDIT_COUNTER_1)
        found.append((state(tester), counted - before, resets, restarts, safe, audit, attack))
    assert found[0] == found[1]
    assert found[0][1:5] == (1, 0, 0, 1)


def own(tester: Tester) -> None:
    """Change all that an owner can: policies, enables, the PCRs' authValue, failed tries."""
    policy = sized(bytes(32)) + ALG.SHA256.to_bytes(2)
    for handle in (RH.OWNER, RH.ENDORSEMENT, RH.LOCKOUT):
        changed = tester.run(CC.SET_PRIMARY_POLICY, [handle], policy, [Password()])
        assert changed.rc == 0
    changed = tester.run(CC.PCR_SET_AUTH_VALUE, [20], sized(b"x"), [Password()])
    assert changed.rc == 0
    sealed = areas.loaded_primary(tester, areas.sealed(), auth=b"x", data=b"data")
    assert tester.run(CC.UNSEAL, [sealed], auths=[Password()]).rc == RC.AUTH_FAIL | 0x900
    areas.flush(tester, sealed)
    for hierarchy in (RH.OWNER, RH.ENDORSEMENT):
        params = hierarchy.to_bytes(4) + b"\0"
        control = tester.run(CC.HIERARCHY_CONTROL, [RH.PLATFORM], params, [Password()])
        assert control.rc == 0


def test_nothing_of_an_owner_is_left_after_clear(both: Both) -> None:
    extend = (1).to_bytes(4) + ALG.SHA256.to_bytes(2) + bytes(32)
    for tester in both:
        for kind in (SU.STATE, SU.CLEAR):
            # A TPM Resume and a TPM Restart: both are counted.
            assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0
            tester.peer.reset()
            assert tester.startup(kind) == 0
        _, _, _, restarts, _ = struct.unpack(">QQIIB", tester.run(CC.READ_CLOCK).parameters)
        assert restarts == 2
        own(tester)
        assert tester.run(CC.CLEAR, [RH.PLATFORM], auths=[Password()]).rc == 0
        _, _, resets, restarts, safe = struct.unpack(">QQIIB", tester.run(CC.READ_CLOCK).parameters)
        assert (resets, restarts, safe) == (0, 0, 1)
        assert property_of(tester, PT.LOCKOUT_COUNTER) == 0
        assert state(tester)[1] & 0b110 == 0b110  # shEnable and ehEnable
        tester.peer.set_locality(2)
        assert tester.run(CC.PCR_EXTEND, [20], extend, [Password()]).rc == 0
        tester.peer.set_locality(0)
        for handle in (RH.OWNER, RH.ENDORSEMENT, RH.LOCKOUT):
            session = tester.start_session(SE.POLICY)
            params = sized(b"") + ALG.NULL.to_bytes(2)
            refused = tester.run(CC.SET_PRIMARY_POLICY, [handle], params, [session])
            assert refused.rc == RC.AUTH_UNAVAILABLE
            areas.flush(tester, session.handle)
            assert tester.run(CC.SET_PRIMARY_POLICY, [handle], params, [Password()]).rc == 0


@pytest.mark.parametrize("code", [CC.CHANGE_EPS, CC.CHANGE_PPS])
def test_a_new_seed_takes_the_policy_with_it(both: Both, code: CC) -> None:
    """And, for the EPS, endorsementAuth; the platform's authValue stays."""
    hierarchy = RH.ENDORSEMENT if code == CC.CHANGE_EPS else RH.PLATFORM
    kept = b"" if code == CC.CHANGE_EPS else b"x"
    for tester in both:
        policy = sized(bytes(32)) + ALG.SHA256.to_bytes(2)
        changed = tester.run(CC.SET_PRIMARY_POLICY, [hierarchy], policy, [Password()])
        assert changed.rc == 0
        pcr_policy = policy + (20).to_bytes(4)
        changed = tester.run(CC.PCR_SET_AUTH_POLICY, [RH.PLATFORM], pcr_policy, [Password()])
        assert changed.rc == 0
        changed = tester.run(CC.HIERARCHY_CHANGE_AUTH, [hierarchy], sized(b"x"), [Password()])
        assert changed.rc == 0
        platform = Password(kept)
        assert tester.run(code, [RH.PLATFORM], auths=[platform]).rc == 0
        session = tester.start_session(SE.POLICY)
        params = sized(b"") + ALG.NULL.to_bytes(2)
        refused = tester.run(CC.SET_PRIMARY_POLICY, [hierarchy], params, [session])
        assert refused.rc == RC.AUTH_UNAVAILABLE
        proven = tester.run(CC.SET_PRIMARY_POLICY, [hierarchy], params, [Password(kept)])
        assert proven.rc == 0
        tester.peer.set_locality(2)
        extend = (1).to_bytes(4) + ALG.SHA256.to_bytes(2) + bytes(32)
        extended = tester.run(CC.PCR_EXTEND, [20], extend, [Password()])
        assert extended.rc == (0 if code == CC.CHANGE_PPS else RC.AUTH_TYPE)
        tester.peer.set_locality(0)


def test_clear_keeps_the_endorsement_key(both: Both) -> None:
    """The EPS stays, so the same template gives the same key; the owner's keys are new."""
    for tester in both:
        keys = []
        for _ in range(2):
            for hierarchy in (RH.ENDORSEMENT, RH.OWNER):
                made = areas.create_primary(tester, areas.storage(), hierarchy=hierarchy)
                keys.append(made.sized())
            assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()]).rc == 0
        assert keys[0] == keys[2]
        assert keys[1] != keys[3]


@pytest.mark.parametrize("code", [CC.CLEAR, CC.CHANGE_EPS, CC.CHANGE_PPS])
def test_keys_of_an_old_seed_are_forgotten(
    tester: Tester, engine_peer: EnginePeer, code: CC
) -> None:
    areas.create_primary(tester, areas.storage(), hierarchy=RH.NULL)
    assert engine_peer.engine._tpm.primary_cache
    assert tester.run(code, [RH.PLATFORM], auths=[Password()]).rc == 0
    assert not engine_peer.engine._tpm.primary_cache


@pytest.mark.parametrize("code", [CC.CHANGE_EPS, CC.CHANGE_PPS])
def test_new_seeds_give_new_keys(both: Both, code: CC) -> None:
    hierarchy = RH.ENDORSEMENT if code == CC.CHANGE_EPS else RH.PLATFORM
    for tester in both:
        keys = []
        for _ in range(2):
            keys.append(areas.create_primary(tester, areas.storage(), hierarchy=hierarchy).sized())
            assert tester.run(code, [RH.PLATFORM], auths=[Password()]).rc == 0
        assert keys[0] != keys[1]


def test_clear_control(both: Both) -> None:
    def control(tester: Tester, auth: int, disable: bytes) -> Result:
        return tester.run(CC.CLEAR_CONTROL, [auth], disable, [Password()])

    def clear(tester: Tester, auth: int) -> Result:
        return tester.run(CC.CLEAR, [auth], auths=[Password()])

    for auth, disable in itertools.product(HIERARCHIES, (b"\0", b"\1", b"\2", b"", b"\0\0")):
        agreed(both, control, auth, disable)
        agreed(both, clear, RH.LOCKOUT)
        agreed(both, clear, RH.PLATFORM)
        agreed(both, control, RH.PLATFORM, b"\0")


def test_hierarchy_control(both: Both) -> None:
    """Who may disable, and who enable, what; and the state it leads to."""

    def control(tester: Tester, auth: int, enable: int, value: int) -> Result:
        params = enable.to_bytes(4) + bytes((value,))
        return tester.run(CC.HIERARCHY_CONTROL, [auth], params, [Password()])

    enables = (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM, RH.PLATFORM_NV, RH.NULL, RH.LOCKOUT)
    for auth, enable, value in itertools.product(HIERARCHIES, enables, (0, 1, 0, 2)):
        answer = agreed(both, control, auth, enable, value)
        assert state(both[0]) == state(both[1])
        if answer.rc == 0:
            if (auth, enable, value) == (RH.PLATFORM, RH.PLATFORM, 0):
                for tester in both:
                    tester.reset()
            elif not value:
                agreed(both, control, auth, enable, 1)
                agreed(both, control, RH.PLATFORM, enable, 1)


def test_disabling_flushes(both: Both) -> None:
    for enable in (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM_NV, RH.PLATFORM):
        found = []
        for tester in both:
            tester.reset()
            if enable == RH.OWNER:
                handles = furnish(tester)
            else:
                for hierarchy in (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM):
                    areas.create_primary(tester, areas.storage(), hierarchy=hierarchy)
            params = enable.to_bytes(4) + b"\0"
            assert tester.run(CC.HIERARCHY_CONTROL, [RH.PLATFORM], params, [Password()]).rc == 0
            found.append(present(tester, handles))
        assert found[0] == found[1]


def test_policies_of_hierarchies(both: Both) -> None:
    def set_policy(tester: Tester, handle: int, size: int, alg: int) -> Result:
        params = sized(bytes(size)) + alg.to_bytes(2)
        return tester.run(CC.SET_PRIMARY_POLICY, [handle], params, [Password()])

    for handle, size, alg in itertools.product(
        HIERARCHIES, (0, 20, 31, 32, 64, 65), (ALG.SHA1, ALG.SHA256, ALG.SHA512, ALG.NULL, 0x99)
    ):
        agreed(both, set_policy, handle, size, alg)
    wrong = agreed(both, set_policy, RH.OWNER, 31, ALG.SHA256)
    assert wrong.rc == parameter_error(RC.SIZE, 1)


def test_auth_values_of_hierarchies(both: Both) -> None:
    def change(tester: Tester, handle: int, new: bytes, old: bytes) -> Result:
        return tester.run(CC.HIERARCHY_CHANGE_AUTH, [handle], sized(new), [Password(old)])

    for handle in HIERARCHIES:
        old = b""
        for new in (b"x", b"x\0\0", bytes(64), b"y" * 64, b"z" * 65, b""):
            answer = agreed(both, change, handle, new, old)
            if answer.rc == 0:
                old = new
        agreed(both, change, handle, b"", b"wrong")
    assert state(both[0]) == state(both[1])
