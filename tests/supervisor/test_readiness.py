"""One task waits for many descriptors."""

import socket

import pytest
import trio
import trio.testing

from vtpmd.supervisor import readiness


async def test_each_is_called_while_there_is_something_to_read_and_until_it_is_ignored() -> None:
    heard: list[bytes] = []
    ours, theirs = socket.socketpair()

    def ready() -> float:
        heard.append(ours.recv(1))
        return 0.0

    with ours, theirs:
        readiness.listen(ours.fileno(), ready)
        theirs.send(b"abc")
        await trio.testing.wait_all_tasks_blocked()
        assert heard == [b"a", b"b", b"c"]
        readiness.ignore(ours.fileno())
        theirs.send(b"d")
        await trio.testing.wait_all_tasks_blocked()
        assert heard == [b"a", b"b", b"c"]


async def test_whoever_wants_a_pause_is_not_called_before_its_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    heard: list[float] = []
    ours, theirs = socket.socketpair()

    def ready() -> float:
        ours.recv(1)
        heard.append(trio.current_time())
        return 5.0

    with ours, theirs:
        readiness.listen(ours.fileno(), ready)
        began = trio.current_time()
        theirs.send(b"ab")
        await trio.sleep(4.0)
        assert len(heard) == 1
        await trio.sleep(4.0)
        assert [moment - began for moment in heard] == pytest.approx([0.0, 5.0], abs=0.1)
        readiness.ignore(ours.fileno())


async def test_a_descriptor_whose_number_another_gets_is_forgotten_by_the_one_before() -> None:
    """It may have been closed before it was ignored, by whoever broke the rules of a channel."""
    heard: list[str] = []

    def ready(pair: tuple[socket.socket, socket.socket], name: str) -> float:
        pair[0].recv(1)
        heard.append(name)
        return 0.0

    first = socket.socketpair()
    number = first[0].fileno()
    readiness.listen(number, lambda: ready(first, "first"))
    first[0].close()
    readiness.ignore(number)
    second = socket.socketpair()
    assert second[0].fileno() == number
    readiness.listen(number, lambda: ready(second, "second"))
    second[1].send(b"x")
    await trio.testing.wait_all_tasks_blocked()
    assert heard == ["second"]
    readiness.ignore(number)
    for end in (first[1], *second):
        end.close()


async def test_a_wait_ends_when_there_is_something_is_given_up_or_is_woken(
    nursery: trio.Nursery,
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with trio.move_on_after(0.01) as impatient:
            await readiness.wait_readable(ours.fileno())
        assert impatient.cancelled_caught
        nursery.start_soon(readiness.wait_readable, ours.fileno())
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await readiness.wait_readable(ours.fileno())
        readiness.wake(ours.fileno())
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks
        theirs.send(b"x")
        await readiness.wait_readable(ours.fileno())
