"""Waiting for a channel: what is sent late arrives, and waiting itself costs nothing."""

import gc

import trio
import trio.testing

from vtpmd.ipc.channel import Channel
from vtpmd.ipc.messages import Event
from vtpmd.ipc.rules import Side, State
from vtpmd.supervisor import waiting


def channels() -> tuple[Channel, Channel]:
    """Both ends of a serving worker's channel: the supervisor's, the worker's."""
    ours, theirs = Channel.pair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    supervisor = Channel(ours, Side.SUPERVISOR, State.SERVING)
    return supervisor, Channel(theirs, Side.WORKER, State.SERVING)


def _kept() -> list[BlockingIOError]:
    return [each for each in gc.get_objects() if isinstance(each, BlockingIOError)]


async def test_who_waits_keeps_no_exception_and_no_buffer(nursery: trio.Nursery) -> None:
    """A `BlockingIOError` would keep the frames it came through, as long as nothing comes."""
    others = _kept()  # parameters of tests, say
    supervisor, worker = channels()
    received: list[object] = []

    async def receive() -> None:
        received.append((await waiting.receive(supervisor))[0])

    nursery.start_soon(receive)
    await trio.testing.wait_all_tasks_blocked()
    assert _kept() == others
    await waiting.send(worker, event := Event("client-connected", "x"))
    await trio.testing.wait_all_tasks_blocked()
    assert received == [event]
    supervisor.close()
    worker.close()


async def test_who_waits_to_send_keeps_no_exception_either(nursery: trio.Nursery) -> None:
    others = _kept()
    supervisor, worker = channels()
    event = Event("client-connected", "x" * 200)
    sent = 0

    async def send() -> None:
        nonlocal sent
        for _ in range(2000):
            await waiting.send(worker, event)
            sent += 1

    nursery.start_soon(send)
    await trio.testing.wait_all_tasks_blocked()
    assert 0 < sent < 2000
    assert _kept() == others
    for _ in range(2000):
        assert (await waiting.receive(supervisor))[0] == event
    supervisor.close()
    worker.close()
