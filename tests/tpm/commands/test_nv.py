"""Part 3, chapter 31: contents, locks and authorizations of NV indices, beside a real swtpm."""

import os
from dataclasses import replace

import pytest

from tests.tpm.agreement import (
    agreed,
    agreed_after_retry,
    handle_error,
    parameter_error,
    session_error,
)
from tests.tpm.commands.nv_area import (
    ALL_RW,
    AUTH_RW,
    BITS,
    COUNTER,
    EXTEND,
    INDEX,
    OWNER_RW,
    PIN_FAIL,
    PIN_PASS,
    PLATFORM_RW,
    Area,
    access,
    attributes,
    count,
    define,
    increment,
    read,
    undefine,
    write,
)
from tests.tpm.harness import EnginePeer, Password, Result, Session, Tester, digest, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE

OTHER = INDEX + 1
EVERY_TYPE = (Area(), COUNTER, BITS, EXTEND, PIN_PASS, PIN_FAIL)
UPDATES = {
    CC.NV_WRITE: sized(bytes(8)) + bytes(2),
    CC.NV_INCREMENT: b"",
    CC.NV_EXTEND: sized(b"measured"),
    CC.NV_SET_BITS: (5).to_bytes(8),
}


@pytest.mark.parametrize("more", [0, TPMA_NV.WRITEALL, TPMA_NV.ORDERLY])
def test_ranges_of_reads_and_writes(both: tuple[Tester, Tester], more: int) -> None:
    area = Area(AUTH_RW | OWNER_RW | more, 40)
    assert agreed(both, define, area).rc == 0
    assert agreed(both, read, 0).rc == RC.NV_UNINITIALIZED
    data = os.urandom(64)
    ranges = [(0, 0), (40, 0), (41, 0), (8, 8), (0, 40), (1, 40), (1, 39), (0, 41), (5, 0xFFFF)]
    for size, offset in ranges:
        agreed(both, write, data[:size], offset)
        agreed(both, read, size, offset)
    for size, offset in ((1025, 0), (1024, 0), (0xFFFF, 0xFFFF), (39, 1), (40, 1)):
        agreed(both, read, size, offset)
    assert agreed(both, write, bytes(1025)).rc == parameter_error(RC.SIZE, 1)
    assert agreed(both, write, data[:40]).rc == 0
    assert agreed(both, read, 40).sized() == data[:40]


def test_the_first_write_leaves_no_octet_undefined(both: tuple[Tester, Tester]) -> None:
    """As in libtpms, and zeros where the specification demands it, of PIN indices."""
    for more, left in ((AUTH_RW, "ff"), (AUTH_RW | TPMA_NV.ORDERLY, "00")):
        area = Area(more | OWNER_RW, 8)
        assert agreed(both, define, area).rc == 0
        assert agreed(both, write, b"\x55", 3, by=RH.OWNER).rc == 0
        contents = bytes.fromhex(3 * left + "55" + 4 * left)
        assert agreed(both, read, 8, by=RH.OWNER).sized() == contents
        assert agreed(both, undefine).rc == 0
    tester = both[0]
    assert define(tester, replace(PIN_PASS, attributes=PIN_PASS.attributes | OWNER_RW)).rc == 0
    assert write(tester, b"\x55", 3, by=RH.OWNER).rc == 0
    assert read(tester, 8, by=RH.OWNER).sized() == bytes.fromhex("0000005500000000")


def test_a_large_index_in_parts(both: tuple[Tester, Tester]) -> None:
    data = os.urandom(2048)
    assert agreed(both, define, Area(size=2048)).rc == 0
    for offset in (0, 1024):
        assert agreed(both, write, data[offset : offset + 1024], offset).rc == 0
    assert agreed(both, read, 1024, 1000).sized() == data[1000:2024]


@pytest.mark.parametrize("area", EVERY_TYPE, ids=lambda area: f"{area.attributes:08x}")
def test_each_type_is_updated_by_its_command_only(both: tuple[Tester, Tester], area: Area) -> None:
    assert agreed(both, define, area).rc == 0
    rcs = [agreed(both, access, code, params, by=RH.OWNER).rc for code, params in UPDATES.items()]
    assert rcs.count(0) == 1
    assert set(rcs) <= {0, RC.ATTRIBUTES, handle_error(RC.ATTRIBUTES, 2)}
    assert agreed(both, read, 8, by=RH.OWNER).rc == 0


@pytest.mark.parametrize("way", [1 << bit for bit in (0, 1, 2, 16, 17, 18)])
def test_who_may_read_and_write(both: tuple[Tester, Tester], way: int) -> None:
    """Every authority against every single permission, for all commands that need one."""
    readers = ALL_RW & 0xF0000
    complement = TPMA_NV.POLICYWRITE if way & readers else TPMA_NV.POLICYREAD
    lockable = TPMA_NV.READ_STCLEAR | TPMA_NV.WRITE_STCLEAR
    area = Area(way | complement | lockable, policy=bytes(32))
    for number, authority in enumerate((None, RH.OWNER, RH.PLATFORM, OTHER)):
        mine = replace(area, index=INDEX + 0x10 + number)
        other = Area(index=OTHER)
        for tester in both:
            assert define(tester, mine).rc == 0
            define(tester, other)
        for code, params in (
            (CC.NV_READ, bytes(4)),
            (CC.NV_WRITE, sized(bytes(8)) + bytes(2)),
            (CC.NV_INCREMENT, b""),
            (CC.NV_READ, bytes(4)),
            (CC.NV_READ_LOCK, b""),
            (CC.NV_WRITE_LOCK, b""),
            (CC.NV_READ, bytes(4)),
            (CC.NV_WRITE, sized(bytes(8)) + bytes(2)),
        ):
            agreed(both, access, code, params, index=mine.index, by=authority)
        assert attributes(both[0], mine.index) == attributes(both[1], mine.index)


def test_wrong_authorization_values(both: tuple[Tester, Tester]) -> None:
    noted = Area(AUTH_RW | OWNER_RW | TPMA_NV.NO_DA)
    assert agreed(both, define, noted, auth=b"secret\x00\x00").rc == 0
    right, wrong = Password(b"secret"), Password(b"guess")
    assert agreed(both, write, bytes(8), auth=wrong).rc == 0x9A2
    assert agreed(both, write, bytes(8), auth=right).rc == 0
    assert agreed(both, read, 8, auth=wrong).rc == 0x9A2
    assert agreed(both, read, 8, auth=Password(b"secret\x00")).rc == 0
    assert agreed(both, read, 8, by=RH.OWNER, auth=wrong).rc == 0x9A2
    # A wrong value tells nothing about locks.
    protected = replace(noted, index=OTHER, attributes=AUTH_RW | TPMA_NV.READ_STCLEAR)
    assert agreed(both, define, protected, auth=b"x").rc == 0
    assert (
        agreed_after_retry(both, access, CC.NV_READ_LOCK, index=OTHER, auth=Password(b"x")).rc == 0
    )
    assert agreed(both, read, 8, index=OTHER, auth=Password(b"y")).rc == 0x98E
    assert agreed(both, read, 8, index=OTHER, auth=Password(b"x")).rc == RC.NV_LOCKED


def test_counters_go_up(both: tuple[Tester, Tester]) -> None:
    assert agreed(both, define, COUNTER).rc == 0
    for expected in (1, 2, 3):
        assert agreed(both, increment).rc == 0
        assert agreed(both, read, 8).sized() == expected.to_bytes(8)
    assert agreed(both, read, 4, 4).sized() == (3).to_bytes(4)


def test_a_new_counter_starts_above_every_deleted_one(both: tuple[Tester, Tester]) -> None:
    for orderly in (0, TPMA_NV.ORDERLY):
        first = replace(COUNTER, attributes=COUNTER.attributes | orderly)
        second = replace(first, index=OTHER)
        agreed(both, define, second)
        assert agreed(both, increment, index=OTHER).rc == 0
        assert agreed(both, define, first).rc == 0
        for _ in range(5):
            assert agreed(both, increment).rc == 0
        highest = count(both[0])
        assert agreed(both, undefine).rc == 0
        # One that was never incremented leaves no trace, and one that lives starts nothing.
        assert agreed(both, define, first).rc == 0
        assert agreed(both, undefine).rc == 0
        assert agreed(both, define, first).rc == 0
        assert agreed(both, increment).rc == 0
        assert [count(tester) for tester in both] == [highest + 1] * 2
        assert agreed(both, undefine).rc == 0
        assert agreed(both, undefine, OTHER).rc == 0


def test_bits_are_only_set(both: tuple[Tester, Tester]) -> None:
    assert agreed(both, define, BITS).rc == 0
    assert agreed(both, access, CC.NV_SET_BITS, bytes(8)).rc == 0
    assert agreed(both, read, 8).sized() == bytes(8)
    for bits in (0x5, 0x8000000000000000, 0x6):
        assert agreed(both, access, CC.NV_SET_BITS, bits.to_bytes(8)).rc == 0
    assert count(both[0]) == count(both[1]) == 0x8000000000000007


@pytest.mark.parametrize("alg", [ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512])
def test_extend_is_that_of_hashlib(both: tuple[Tester, Tester], alg: ALG) -> None:
    size = len(digest(alg))
    assert agreed(both, define, replace(EXTEND, alg=alg, size=size)).rc == 0
    value = bytes(size)
    for data in (b"", b"one", bytes(1024)):
        assert agreed(both, access, CC.NV_EXTEND, sized(data)).rc == 0
        value = digest(alg, value, data)
        assert agreed(both, read, size).sized() == value


def test_public_area_and_name(both: tuple[Tester, Tester]) -> None:
    for alg in (ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512):
        area = Area(alg=alg, policy=bytes(len(digest(alg))), index=INDEX + alg)
        assert agreed(both, define, area).rc == 0
        public = agreed(both, Tester.run, CC.NV_READ_PUBLIC, [area.index])
        assert (public.sized(), public.sized(1)) == (area.marshal(), area.name())
        assert agreed(both, write, bytes(8), index=area.index).rc == 0
        public = agreed(both, Tester.run, CC.NV_READ_PUBLIC, [area.index])
        written = TPMA_NV.WRITTEN
        assert (public.sized(), public.sized(1)) == (
            area.marshal(more=written),
            area.name(more=written),
        )
    for handle in (0x01FFFFFF, 0x02000000, 0x40000001, 0x11000000):
        agreed(both, Tester.run, CC.NV_READ_PUBLIC, [handle])


@pytest.mark.parametrize("lockable", range(16))
def test_locks(both: tuple[Tester, Tester], lockable: int) -> None:
    flags = (
        TPMA_NV.WRITE_STCLEAR,
        TPMA_NV.WRITEDEFINE,
        TPMA_NV.READ_STCLEAR,
        TPMA_NV.GLOBALLOCK,
    )
    more = sum(flag for bit, flag in enumerate(flags) if lockable >> bit & 1)
    area = Area(AUTH_RW | OWNER_RW | more)
    assert agreed(both, define, area).rc == 0
    agreed(both, write, bytes(8))
    for code in (CC.NV_READ_LOCK, CC.NV_WRITE_LOCK, CC.NV_GLOBAL_WRITE_LOCK):
        for _ in range(2):
            if code == CC.NV_GLOBAL_WRITE_LOCK:
                assert agreed(both, Tester.run, code, [RH.OWNER], auths=[Password()]).rc == 0
            else:
                agreed(both, access, code)
        assert attributes(both[0]) == attributes(both[1])
        agreed(both, write, b"changed!")
        agreed(both, read, 8)
    expected = bool(more & (TPMA_NV.WRITE_STCLEAR | TPMA_NV.WRITEDEFINE | TPMA_NV.GLOBALLOCK))
    assert bool(attributes(both[0]) & TPMA_NV.WRITELOCKED) == expected
    assert bool(attributes(both[0]) & TPMA_NV.READLOCKED) == bool(more & TPMA_NV.READ_STCLEAR)


def test_locked_counters_bits_and_digests_do_not_move(both: tuple[Tester, Tester]) -> None:
    for area in (COUNTER, BITS, EXTEND):
        locked = replace(area, attributes=area.attributes | TPMA_NV.WRITE_STCLEAR)
        assert agreed(both, define, locked).rc == 0
        assert agreed(both, access, CC.NV_WRITE_LOCK).rc == 0
        for code, params in UPDATES.items():
            step = agreed(both, access, code, params)
            assert step.rc == RC.NV_LOCKED
        assert agreed(both, undefine).rc == 0


def test_who_may_delete(both: tuple[Tester, Tester]) -> None:
    owned = Area()
    of_platform = Area(PLATFORM_RW | TPMA_NV.PLATFORMCREATE, index=OTHER)
    assert agreed(both, define, owned).rc == 0
    assert agreed(both, define, of_platform, by=RH.PLATFORM).rc == 0
    assert agreed(both, undefine, OTHER).rc == RC.NV_AUTHORIZATION
    assert agreed(both, undefine, OTHER, by=RH.PLATFORM).rc == 0
    assert agreed(both, undefine, by=RH.PLATFORM).rc == 0
    assert agreed(both, undefine).rc == handle_error(RC.HANDLE, 2)


def test_disabled_hierarchies_hide_their_indices(both: tuple[Tester, Tester]) -> None:
    of_platform = Area(PLATFORM_RW | AUTH_RW | TPMA_NV.PLATFORMCREATE, index=OTHER)
    for tester in both:
        assert define(tester, Area()).rc == 0
        assert define(tester, of_platform, by=RH.PLATFORM).rc == 0
    for hierarchy, hidden in ((RH.PLATFORM_NV, OTHER), (RH.OWNER, INDEX)):
        control = hierarchy.to_bytes(4) + b"\0"
        disabled = agreed(
            both, Tester.run, CC.HIERARCHY_CONTROL, [RH.PLATFORM], control, [Password()]
        )
        assert disabled.rc == 0
        found = agreed(both, Tester.run, CC.NV_READ_PUBLIC, [hidden])
        assert found.rc == handle_error(RC.HANDLE, 1)
        agreed(both, write, bytes(8), index=hidden)
        agreed(both, undefine, hidden, by=RH.PLATFORM)
    again = replace(of_platform, index=INDEX + 9)
    refused = agreed(both, define, again, by=RH.PLATFORM)
    assert refused.rc == handle_error(RC.HIERARCHY, 1)
    assert agreed(both, define, Area()).rc == handle_error(RC.HIERARCHY, 1)


def policy_for(code: int) -> bytes:
    """The digest of a policy that only names a command."""
    return digest(ALG.SHA256, bytes(32), CC.POLICY_COMMAND_CODE.to_bytes(4), code.to_bytes(4))


def with_command_code(tester: Tester, code: int, *, auth_value: bytes | None = None) -> Session:
    """A policy session that has named a command, and then maybe asked for the authValue."""
    session = tester.start_session(SE.POLICY)
    asserted = tester.run(CC.POLICY_COMMAND_CODE, [session.handle], code.to_bytes(4))
    assert asserted.rc == 0
    if auth_value is not None:
        assert tester.run(CC.POLICY_AUTH_VALUE, [session.handle]).rc == 0
        session.auth_value = auth_value
    return session


def test_changing_the_authorization_value(both: tuple[Tester, Tester]) -> None:
    area = Area(policy=policy_for(CC.NV_CHANGE_AUTH))

    def change(tester: Tester, value: bytes) -> Result:
        session = with_command_code(tester, CC.NV_CHANGE_AUTH)
        session.attributes = 0
        result = tester.run(CC.NV_CHANGE_AUTH, [INDEX], sized(value), [session])
        tester.run(CC.FLUSH_CONTEXT, params=session.handle.to_bytes(4))
        return result

    assert agreed(both, define, area, auth=b"old").rc == 0
    assert agreed(both, change, bytes(33) + b"x").rc == parameter_error(RC.SIZE, 1)
    assert agreed(both, change, b"new\x00\x00").rc == 0
    assert agreed_after_retry(both, write, bytes(8), auth=Password(b"old")).rc == 0x98E
    assert agreed(both, write, bytes(8), auth=Password(b"new")).rc == 0
    auths = [Password(b"new")]
    refused = agreed(both, Tester.run, CC.NV_CHANGE_AUTH, [INDEX], sized(b""), auths)
    assert refused.rc == RC.AUTH_TYPE


def test_the_answer_to_a_change_is_proven_with_the_new_value(both: tuple[Tester, Tester]) -> None:
    policy = digest(ALG.SHA256, policy_for(CC.NV_CHANGE_AUTH), CC.POLICY_AUTH_VALUE.to_bytes(4))
    for tester in both:
        assert define(tester, Area(policy=policy), auth=b"old").rc == 0
        for old, new in ((b"old", b"new"), (b"new", b"")):
            session = with_command_code(tester, CC.NV_CHANGE_AUTH, auth_value=old)
            session.next_auth_value = new
            session.attributes = 0
            result = tester.run(CC.NV_CHANGE_AUTH, [INDEX], sized(new), [session])
            if result.rc == RC.RETRY:
                result = tester.run(CC.NV_CHANGE_AUTH, [INDEX], sized(new), [session])
            assert result.rc == 0


def test_special_deletion(both: tuple[Tester, Tester]) -> None:
    more = TPMA_NV.PLATFORMCREATE | TPMA_NV.POLICY_DELETE
    policy = policy_for(CC.NV_UNDEFINE_SPACE_SPECIAL)
    policy = digest(ALG.SHA256, policy, CC.POLICY_AUTH_VALUE.to_bytes(4))
    special = Area(PLATFORM_RW | more | TPMA_NV.NO_DA, policy=policy)
    plain = Area(PLATFORM_RW | TPMA_NV.PLATFORMCREATE | TPMA_NV.NO_DA, policy=policy, index=OTHER)

    def delete(tester: Tester, index: int, auth_value: bytes) -> Result:
        session = with_command_code(tester, CC.NV_UNDEFINE_SPACE_SPECIAL, auth_value=auth_value)
        session.attributes = 0
        session.next_auth_value = b""
        auths: list[Password | Session] = [session, Password()]
        result = tester.run(CC.NV_UNDEFINE_SPACE_SPECIAL, [index, RH.PLATFORM], auths=auths)
        tester.run(CC.FLUSH_CONTEXT, params=session.handle.to_bytes(4))
        return result

    for area in (special, plain):
        assert agreed(both, define, area, by=RH.PLATFORM, auth=b"value").rc == 0
    assert agreed(both, undefine, by=RH.PLATFORM).rc == handle_error(RC.ATTRIBUTES, 2)
    assert agreed(both, delete, OTHER, b"value").rc == handle_error(RC.ATTRIBUTES, 1)
    assert agreed(both, delete, INDEX, b"wrong").rc == 0x9A2
    assert agreed(both, delete, INDEX, b"value").rc == 0
    assert agreed(both, Tester.run, CC.NV_READ_PUBLIC, [INDEX]).rc == handle_error(RC.HANDLE, 1)


def test_an_hmac_without_a_key(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        assert define(tester, Area(AUTH_RW | TPMA_NV.NO_DA)).rc == 0
        session = tester.start_session()
        assert write(tester, bytes(8), auth=session).rc == 0
        session.always_proves = True
        assert read(tester, 8, auth=session).rc == 0
        session.tamper = True
        assert read(tester, 8, auth=session).rc == 0x9A2


def test_sessions_of_every_kind(both: tuple[Tester, Tester]) -> None:
    """HMAC with and without binding, and encrypted parameters both ways."""
    data = b"confidential".ljust(32, b".")
    area = Area(AUTH_RW | TPMA_NV.NO_DA, 32)
    for tester in both:
        assert define(tester, area, auth=b"auth").rc == 0
        plain = tester.start_session()
        plain.auth_value = b"auth"
        assert write(tester, data, auth=plain).rc == 0
        bound = tester.start_session(bind=INDEX, bind_auth=b"auth", aes_bits=128)
        bound.attributes |= 0x40
        assert read(tester, 32, auth=bound).rc in (0, 0x9A2)
        crypt = tester.start_session(aes_bits=128)
        crypt.auth_value, crypt.attributes = b"auth", 0x61
        assert read(tester, 32, auth=crypt).rc == session_error(RC.ATTRIBUTES, 1)
        crypt.attributes = 0x41
        assert read(tester, 32, auth=crypt).sized() == data
        crypt.attributes = 0x21
        assert write(tester, data[::-1], auth=crypt).rc == 0
        assert read(tester, 32, auth=Password(b"auth")).sized() == data[::-1]


def test_expanded_public_areas(tester: Tester) -> None:
    area = Area(index=OTHER)
    params = sized(b"") + sized(b"\x01" + area.marshal())
    assert tester.run(CC.NV_DEFINE_SPACE2, [RH.OWNER], params, [Password()]).rc == 0
    found = tester.run(CC.NV_READ_PUBLIC2, [OTHER])
    assert (found.sized(), found.sized(1)) == (b"\x01" + area.marshal(), area.name())
    assert tester.run(CC.NV_READ_PUBLIC, [OTHER]).sized(1) == area.name()
    outside = Area(index=0x11000001).marshal()
    outside = outside[:6] + bytes(4) + outside[6:]
    params = sized(b"") + sized(b"\x11" + outside)
    refused = tester.run(CC.NV_DEFINE_SPACE2, [RH.OWNER], params, [Password()])
    assert refused.rc == parameter_error(RC.HANDLE, 2)
    assert tester.run(CC.NV_READ_PUBLIC2, [0x11000001]).rc == handle_error(RC.VALUE, 1)


@pytest.mark.parametrize("orderly", [0, TPMA_NV.ORDERLY])
def test_without_a_host_that_stores_nothing_changes(
    tester: Tester, engine_peer: EnginePeer, orderly: int
) -> None:
    engine = engine_peer.engine
    more = orderly | TPMA_NV.NO_DA
    codes = (CC.NV_WRITE, CC.NV_INCREMENT, CC.NV_SET_BITS, CC.NV_EXTEND)
    areas = [
        replace(area, attributes=area.attributes | more, index=INDEX + number)
        for number, area in enumerate(EVERY_TYPE)
    ]
    for area in areas[:-1]:
        assert define(tester, area).rc == 0
    before = engine.permanent()
    engine.nv_available = False
    assert define(tester, areas[-1]).rc == RC.NV_UNAVAILABLE
    assert undefine(tester).rc == RC.NV_UNAVAILABLE
    for area, code in zip(areas, codes, strict=False):
        rc = access(tester, code, UPDATES[code], index=area.index).rc
        # An orderly index changes in RAM, but for a counter's first value.
        assert rc == (0 if orderly and code != CC.NV_INCREMENT else RC.NV_UNAVAILABLE)
    if not orderly:
        assert engine.permanent() == before
    engine.nv_available = True
    assert undefine(tester).rc == 0


def test_only_changes_are_stored(tester: Tester, engine_peer: EnginePeer) -> None:
    assert define(tester, Area()).rc == 0
    assert write(tester, b"12345678").rc == 0
    engine_peer.stored = b""
    assert write(tester, b"12345678").rc == 0
    assert write(tester, b"345", 2).rc == 0
    assert read(tester, 8).rc == 0
    assert engine_peer.stored == b""
    assert write(tester, b"x").rc == 0
    assert engine_peer.stored != b""


def test_orderly_data_stays_in_memory(tester: Tester, engine_peer: EnginePeer) -> None:
    counter = replace(COUNTER, attributes=COUNTER.attributes | TPMA_NV.ORDERLY)
    assert define(tester, counter).rc == 0
    assert increment(tester).rc == 0
    engine_peer.stored = b""
    stored_at = []
    for _ in range(600):
        assert increment(tester).rc == 0
        if engine_peer.stored:
            stored_at.append(count(tester))
            engine_peer.stored = b""
    assert stored_at == [256, 512]
