"""Where the DEKs of TPMs that sleep lie: where nobody else, nor a defect of the kernel's, reads."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.test_secrets import memory
from tests.faults.tracing import needs_root
from tests.keeper import harness
from tests.keeper.harness import Keeper, kept, one, order_of
from tests.worker.harness import make_key
from vtpmd.ipc.messages import GiveBack, NotAwake, WakeUp
from vtpmd.keeper import deks
from vtpmd.keeper.deks import Deks
from vtpmd.linux import secret_memory
from vtpmd.linux.secret_memory import SecretMemory

DEK = os.urandom(32)


def _there_is_none() -> str:
    try:
        secret_memory.demand()
    except OSError as error:
        return error.strerror or "no"
    return ""


needs_secret_memory = pytest.mark.skipif(bool(_there_is_none()), reason=_there_is_none())


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nothing else looks like."""
    monkeypatch.setattr(harness, "make_key", lambda: replace(make_key(), dek=bytearray(DEK)))


@pytest.fixture
def keeper(short_path: Path) -> Iterator[Keeper]:
    with kept(short_path) as keeper:
        yield keeper


def _seen(pid: int) -> int:
    """How often the key is where somebody can read who may read all memory of the process."""
    return sum(region.count(DEK) for region in memory(pid))


@needs_root
@needs_secret_memory
def test_no_key_of_a_sleeper_is_seen_in_its_memory(keeper: Keeper) -> None:
    """Nor after somebody was nearly woken, nor in the keeper that goes on, nor in a zygote."""
    for number in (1, 2):
        keeper.keep(number).rest()
    keeper.asleep()
    assert _seen(keeper.pid) == 0
    keeper.daemon.send(WakeUp(one(1)))
    keeper.told(NotAwake)
    keeper.replace()
    assert keeper.asleep() == {one(1), one(2)}
    children = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()
    for pid in (keeper.pid, *map(int, children)):
        assert _seen(pid) == 0


def _kept(places: Deks) -> tuple[GiveBack, int | None]:
    order = order_of(one(1))
    return order, places.guard(order)


@needs_secret_memory
def test_a_key_is_in_its_order_only_while_somebody_is_told() -> None:
    places = Deks()
    order, place = _kept(places)
    assert order.order.key.dek == bytes(32)
    for _ in range(2):
        with places.in_place(order, place):
            assert order.order.key.dek == DEK
        assert order.order.key.dek == bytes(32)
    places.forget(order, place)
    other, again = _kept(places)
    assert again == place
    with places.in_place(other, again):
        assert other.order.key.dek == DEK


def test_without_secret_memory_it_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(places: int, size: int) -> None:
        raise OSError("no")

    monkeypatch.setattr(deks, "SecretMemory", refuse)
    places = Deks()
    order, place = _kept(places)
    assert place is None
    with places.in_place(order, place):
        assert order.order.key.dek == DEK
    assert order.order.key.dek == DEK
    places.forget(order, place)
    assert order.order.key.dek == bytes(32)


@needs_secret_memory
def test_places() -> None:
    memory = SecretMemory(2, 4)
    first, second = bytearray(b"abcd"), bytearray(b"efgh")
    places = [memory.put(first), memory.put(second)]
    assert first == second == bytes(4)
    assert memory.put(bytearray(b"ijkl")) is None  # there is no room
    for place, wanted in zip(places, (b"abcd", b"efgh"), strict=True):
        assert place is not None
        memory.copy(place, found := bytearray(4))
        assert found == wanted
    assert places[0] is not None
    memory.free(places[0])
    memory.copy(places[0], found)
    assert found == bytes(4)
    assert memory.put(bytearray(b"too long")) is None
    assert memory.put(bytearray(b"ijkl")) == places[0]


def test_where_the_kernel_has_none_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_memory, "_MEMFD_SECRET", 1 << 20)  # which no kernel has
    with pytest.raises(OSError, match=os.strerror(38)):
        secret_memory.demand()
    with pytest.raises(OSError, match=os.strerror(38)):
        SecretMemory(1, 32)
