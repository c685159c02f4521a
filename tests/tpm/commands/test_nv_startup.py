"""What becomes of NV indices when the TPM is started, after every way of stopping it."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from tests.tpm.commands.nv_area import (
    AUTH_RW,
    BITS,
    COUNTER,
    EXTEND,
    INDEX,
    OWNER_RW,
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
from tests.tpm.harness import EnginePeer, Password, SwtpmPeer, Tester, sized
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import CC, RH, SU

MAX_ORDERLY_COUNT = 0xFF
UPDATE = {
    COUNTER.attributes: (CC.NV_INCREMENT, b""),
    BITS.attributes: (CC.NV_SET_BITS, (0x81).to_bytes(8)),
    EXTEND.attributes: (CC.NV_EXTEND, sized(b"event")),
}
LOCKABLE = (0, TPMA_NV.WRITE_STCLEAR | TPMA_NV.READ_STCLEAR, TPMA_NV.WRITEDEFINE)
STOPS = (
    (SU.STATE, SU.STATE),
    (SU.STATE, SU.CLEAR),
    (SU.CLEAR, SU.CLEAR),
    (None, SU.CLEAR),
)


def areas() -> Iterator[tuple[Area, bool]]:
    """Every combination that matters, and whether it is written before the stop."""
    index = INDEX
    for base, kept, lockable, written in product(
        (Area(), COUNTER, BITS, EXTEND), (0, TPMA_NV.CLEAR_STCLEAR), LOCKABLE, (False, True)
    ):
        if kept and (base is COUNTER or lockable & TPMA_NV.WRITEDEFINE):
            continue
        yield replace(base, attributes=base.attributes | kept | lockable, index=index), written
        index += 1


def update(tester: Tester, area: Area) -> None:
    """Change an index the way its type allows."""
    code, params = UPDATE.get(
        area.attributes & (0xF0 | AUTH_RW | OWNER_RW), (CC.NV_WRITE, sized(b"contents") + bytes(2))
    )
    assert access(tester, code, params, index=area.index, by=RH.OWNER).rc == 0


def lock(tester: Tester, area: Area) -> None:
    """Lock an index in every way it can be."""
    if area.attributes & (TPMA_NV.WRITE_STCLEAR | TPMA_NV.WRITEDEFINE):
        assert access(tester, CC.NV_WRITE_LOCK, index=area.index, by=RH.OWNER).rc == 0
    if area.attributes & TPMA_NV.READ_STCLEAR:
        assert access(tester, CC.NV_READ_LOCK, index=area.index, by=RH.OWNER).rc == 0


def cut_power(tester: Tester) -> None:
    """Lose what is not stored; swtpm has no chance to shut its TPM down."""
    peer = tester.peer
    if isinstance(peer, SwtpmPeer):
        os.kill(peer.instance.process(), signal.SIGKILL)
        peer.close()
        tester.peer = SwtpmPeer(peer.instance.data.parent)
    else:
        peer.reset()


def stop_and_start(tester: Tester, shutdown: int | None, startup: int) -> None:
    """A power cycle."""
    if shutdown is None:
        cut_power(tester)
    else:
        assert tester.run(CC.SHUTDOWN, params=shutdown.to_bytes(2)).rc == 0
        tester.peer.reset()
    assert tester.startup(startup) == 0


@pytest.fixture
def swtpm(short_path: Path) -> Iterator[Tester]:
    """A swtpm that may be replaced by its successor."""
    theirs = Tester(SwtpmPeer(short_path))
    assert theirs.startup() == 0
    yield theirs
    theirs.peer.close()


@pytest.fixture
def pair(tester: Tester, swtpm: Tester) -> tuple[Tester, Tester]:
    return tester, swtpm


@pytest.mark.parametrize("orderly", [0, TPMA_NV.ORDERLY])
@pytest.mark.parametrize(("shutdown", "startup"), STOPS)
def test_attributes_and_contents(
    pair: tuple[Tester, Tester], shutdown: int | None, startup: int, orderly: int
) -> None:
    group = [
        (replace(area, attributes=area.attributes | orderly), written) for area, written in areas()
    ]
    # swtpm has 512 octets of memory for orderly indices.
    for start in range(0, len(group), 8):
        some = group[start : start + 8]
        for tester in pair:
            for area, written in some:
                assert define(tester, area).rc == 0
                if written:
                    update(tester, area)
                lock(tester, area)
            stop_and_start(tester, shutdown, startup)
        for area, _ in some:
            ours, theirs = (attributes(tester, area.index) for tester in pair)
            if shutdown is None and orderly and area.attributes & TPMA_NV.WRITEDEFINE:
                # A lock for good is one: libtpms forgets that of an orderly counter.
                assert bool(ours & TPMA_NV.WRITELOCKED) == bool(ours & TPMA_NV.WRITTEN)
                ours &= ~TPMA_NV.WRITELOCKED
            assert ours == theirs, (hex(area.attributes), hex(ours), hex(theirs))
            found = [read(tester, area.size, index=area.index, by=RH.OWNER) for tester in pair]
            assert found[0] == found[1], hex(area.attributes)
        for tester, (area, _) in product(pair, some):
            assert undefine(tester, area.index).rc == 0


def test_an_orderly_counter_never_goes_back(pair: tuple[Tester, Tester]) -> None:
    more = TPMA_NV.ORDERLY | TPMA_NV.NO_DA
    orderly = replace(COUNTER, attributes=COUNTER.attributes | more)
    for tester in pair:
        assert define(tester, orderly).rc == 0
    history = []
    for steps, shutdown in ((3, None), (1, None), (0, None), (2, SU.CLEAR), (300, None), (1, None)):
        values = []
        for tester in pair:
            for _ in range(steps):
                assert increment(tester).rc == 0
            before = count(tester)
            stop_and_start(tester, shutdown, SU.CLEAR)
            values.append((before, count(tester)))
        assert values[0] == values[1]
        history.append(values[0])
    for before, after in history:
        assert after >= before
    assert history[0] == (3, MAX_ORDERLY_COUNT)
    assert history[1] == (256, 256 | MAX_ORDERLY_COUNT)


def test_what_follows_a_shutdown_makes_it_void(tester: Tester) -> None:
    orderly = replace(COUNTER, attributes=COUNTER.attributes | TPMA_NV.ORDERLY)
    assert define(tester, orderly).rc == 0
    assert increment(tester).rc == 0
    assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0
    assert increment(tester).rc == 0
    reported = count(tester)
    tester.peer.reset()
    assert tester.startup(SU.STATE) != 0
    assert tester.startup(SU.CLEAR) == 0
    assert count(tester) >= reported


def test_clear_removes_what_the_owner_defined(pair: tuple[Tester, Tester]) -> None:
    of_platform = Area(
        OWNER_RW | TPMA_NV.PPREAD | TPMA_NV.PPWRITE | TPMA_NV.PLATFORMCREATE, index=INDEX + 9
    )
    for tester in pair:
        assert define(tester, COUNTER).rc == 0
        for _ in range(4):
            assert increment(tester).rc == 0
        assert define(tester, of_platform, by=RH.PLATFORM).rc == 0
        assert write(tester, b"platform", index=of_platform.index, by=RH.OWNER).rc == 0
        cleared = tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()])
        if cleared.rc == 0x922:
            cleared = tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()])
        assert cleared.rc == 0
        assert tester.run(CC.NV_READ_PUBLIC, [INDEX]).rc == 0x18B
        assert read(tester, 8, index=of_platform.index, by=RH.OWNER).sized() == b"platform"
        assert define(tester, COUNTER).rc == 0
        assert increment(tester).rc == 0
        assert count(tester) == 5


def test_permanent_state_holds_all_indices(tester: Tester, engine_peer: EnginePeer) -> None:
    for area, written in areas():
        assert define(tester, area, auth=b"auth").rc == 0
        if written:
            update(tester, area)
    assert engine_peer.stored == engine_peer.engine.permanent()
