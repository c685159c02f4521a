"""Events and locks that cost nothing while nobody needs them."""

import pytest
import trio
import trio.testing

from vtpmd.supervisor import lazily


async def test_whoever_waits_goes_on_when_it_is_set_and_who_comes_later_at_once(
    nursery: trio.Nursery,
) -> None:
    event = lazily.Event()
    for _ in range(2):
        nursery.start_soon(event.wait)
    await trio.testing.wait_all_tasks_blocked()
    assert len(nursery.child_tasks) == 2
    assert not event.is_set()
    event.set()
    await trio.testing.wait_all_tasks_blocked()
    assert not nursery.child_tasks
    assert event.is_set()
    with trio.testing.assert_checkpoints():
        await event.wait()


async def test_one_after_the_other_has_the_lock(nursery: trio.Nursery) -> None:
    lock, order = lazily.Lock(), list[int]()

    async def take(number: int) -> None:
        async with lock:
            assert lock.locked()
            order.append(number)
            await trio.testing.wait_all_tasks_blocked()
            order.append(number)

    async with trio.open_nursery() as takers:
        for number in range(3):
            takers.start_soon(take, number)
    assert order[::2] == order[1::2]
    assert sorted(order[::2]) == [0, 1, 2]
    assert not lock.locked()


async def test_who_gives_up_waiting_for_the_lock_does_not_lose_it_for_others() -> None:
    lock = lazily.Lock()
    async with lock:
        with pytest.raises(trio.WouldBlock):
            await _elsewhere(lock)
        with trio.move_on_after(0) as impatient:
            async with trio.open_nursery() as other:
                other.start_soon(lock.__aenter__)
                await trio.sleep_forever()
        assert impatient.cancelled_caught
    assert not lock.locked()
    lock.acquire_nowait()
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()


async def _elsewhere(lock: lazily.Lock) -> None:
    """Take it in a task of its own, which does not hold it."""
    refused: list[trio.WouldBlock] = []

    async def take() -> None:
        try:
            lock.acquire_nowait()
        except trio.WouldBlock as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
    if refused:
        raise refused[0]
