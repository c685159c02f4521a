"""TPM2_NV_DefineSpace: which indices there may be, compared with a real swtpm code by code."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.tpm.agreement import parameter_error
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
    POLICY_RW,
    Area,
    define,
    of_type,
    undefine,
)
from tests.tpm.harness import EnginePeer, Password, Tester, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CC, NT, RH

FLAGS = [1 << bit for bit in range(32) if not 4 <= bit < 8]
READERS = 0xF0000


def definitions() -> Iterator[tuple[int, Area, int]]:
    """By whom, what, and how long an authValue."""
    for nt in range(16):
        allowed = ALL_RW & ~TPMA_NV.AUTHWRITE | TPMA_NV.NO_DA
        area = Area(of_type(nt) | allowed, 32 if nt == NT.EXTEND else 8)
        for by, created in ((RH.OWNER, 0), (RH.PLATFORM, TPMA_NV.PLATFORMCREATE)):
            mine = replace(area, attributes=area.attributes | created)
            for one in (0, *FLAGS):
                for other in (0, TPMA_NV.CLEAR_STCLEAR, TPMA_NV.WRITEDEFINE, TPMA_NV.WRITEALL):
                    yield by, replace(mine, attributes=mine.attributes ^ one ^ other), 0
            for size in (0, 1, 7, 8, 9, 20, 32, 48, 64, 512, 1024, 1025, 2048, 2049, 0xFFFF):
                yield by, replace(mine, size=size), 0
                yield by, replace(mine, size=size, attributes=mine.attributes | TPMA_NV.WRITEALL), 0
            for way in (0, AUTH_RW, OWNER_RW, PLATFORM_RW, POLICY_RW):
                only = mine.attributes & ~ALL_RW | way
                for more in (0, ALL_RW & READERS, ALL_RW & ~READERS):
                    yield by, replace(mine, attributes=only | more), 0
        for alg in (ALG.SHA1, ALG.SHA384, ALG.SHA512, ALG.SM3_256, ALG.NULL, ALG.AES):
            for size in (20, 32, 48, 64):
                yield RH.OWNER, replace(area, alg=alg, size=size), size
                yield RH.OWNER, replace(area, alg=alg, policy=bytes(size)), 0
    for policy in (1, 31, 32, 33, 48, 64, 65):
        yield RH.OWNER, Area(policy=bytes(policy)), 33
    for auth in (31, 32, 33, 64, 65):
        yield RH.OWNER, Area(), auth
        yield RH.PLATFORM, Area(), auth


def test_every_definition_gets_the_response_code_of_swtpm(both: tuple[Tester, Tester]) -> None:
    differences, successes = [], 0
    for number, (by, area, auth) in enumerate(definitions()):
        area = replace(area, index=INDEX + number)
        codes = []
        for tester in both:
            codes.append(define(tester, area, auth=b"\x01" * auth, by=by).rc)
            if codes[-1] == 0:
                successes += 1
                kept = area.attributes & TPMA_NV.POLICY_DELETE
                assert (undefine(tester, area.index, by=RH.PLATFORM).rc == 0) != bool(kept)
        if codes[0] != codes[1]:
            differences.append((by, area, auth, hex(codes[0]), hex(codes[1])))
    assert not differences
    assert successes > 100


@pytest.mark.parametrize("handle", [0x00FFFFFF, 0x01000000, 0x01FFFFFF, 0x02000000, 0x11000000])
def test_only_handles_of_nv_indices(both: tuple[Tester, Tester], handle: int) -> None:
    ours, theirs = (define(tester, Area(index=handle)).rc for tester in both)
    assert ours == theirs == (0 if handle >> 24 == 1 else RC.VALUE | 0x2C0)


def test_an_index_is_defined_once(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        assert define(tester, Area()).rc == 0
        assert define(tester, Area()).rc == RC.NV_DEFINED
        assert define(tester, Area(size=9)).rc == RC.NV_DEFINED


def test_malformed_parameters(both: tuple[Tester, Tester]) -> None:
    area = Area().marshal()
    for params in (
        b"",
        sized(b""),
        sized(b"") + sized(b""),
        sized(b"") + sized(area[:-1]),
        sized(b"") + sized(area + b"\0"),
        sized(b"") + (len(area) - 1).to_bytes(2) + area,
        sized(b"") + sized(area) + b"\0",
        (65).to_bytes(2) + bytes(65) + sized(area),
        sized(bytes(33)) + sized(area),
    ):
        ours, theirs = (
            tester.run(CC.NV_DEFINE_SPACE, [RH.OWNER], params, [Password()]).rc for tester in both
        )
        assert ours == theirs, params.hex()
        assert (ours == 0) == (params == sized(bytes(33)) + sized(area))


def test_space_runs_out_and_comes_back(tester: Tester) -> None:
    number = 0
    while True:
        area = Area(size=2048, index=INDEX + number)
        found = define(tester, area).rc
        if found:
            break
        number += 1
    assert found == RC.NV_SPACE
    assert 40 <= number < 64
    # Counters have room kept for them, as persistent objects have.
    counter = Area(of_type(NT.COUNTER) | AUTH_RW, index=0x01600000)
    rcs = {define(tester, replace(counter, index=counter.index + n)).rc for n in range(8)}
    assert rcs == {0}
    assert undefine(tester, INDEX).rc == 0
    assert define(tester, Area(size=2048)).rc == 0


def test_a_refused_definition_changes_nothing(tester: Tester, engine_peer: EnginePeer) -> None:
    before, refused = engine_peer.engine.permanent(), 0
    for by, area, auth in definitions():
        if define(tester, area, auth=b"\x01" * auth, by=by).rc == 0:
            if area.attributes & TPMA_NV.POLICY_DELETE:
                break
            assert undefine(tester, area.index, by=RH.PLATFORM).rc == 0
        else:
            refused += 1
        assert engine_peer.engine.permanent() == before
    assert refused > 10


@pytest.fixture(scope="module")
def without_updates() -> bytes:
    """The state of a TPM that has none of the commands for what is not ordinary."""
    left_out = ("INCREMENT", "EXTEND", "SET_BITS", "UNDEFINE_SPACE_SPECIAL")
    names = " ".join(f"CC_NV_{name}" for name in left_out)
    return EnginePeer.manufactured(profile=f"default-v1 without {names}").stored


def test_no_index_that_no_command_could_update_or_delete(without_updates: bytes) -> None:
    peer = EnginePeer.restored(without_updates)
    tester = Tester(peer)
    assert tester.startup() == 0
    attributes = parameter_error(RC.ATTRIBUTES, 2)
    for area in (COUNTER, BITS, EXTEND):
        assert define(tester, area).rc == attributes
        assert define(tester, replace(area, size=9)).rc == attributes
    deletable = Area(PLATFORM_RW | TPMA_NV.PLATFORMCREATE)
    special = replace(deletable, attributes=deletable.attributes | TPMA_NV.POLICY_DELETE)
    assert define(tester, special, by=RH.PLATFORM).rc == attributes
    assert define(tester, replace(special, policy=b"1"), by=RH.PLATFORM).rc == attributes
    for number, area in enumerate((Area(), PIN_PASS, PIN_FAIL)):
        assert define(tester, replace(area, index=INDEX + 1 + number)).rc == 0
    assert define(tester, deletable, by=RH.PLATFORM).rc == 0
    peer.close()
