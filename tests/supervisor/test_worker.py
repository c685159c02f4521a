"""The supervisor's side of one worker."""

import os
import subprocess
from dataclasses import replace
from uuid import UUID

import pytest
import trio
import trio.testing

from vtpmd.ipc.channel import Channel
from vtpmd.ipc.messages import NO_NUMBER, Pcrs, ReadPcrs, Status, StatusReply, Stop, Stopped
from vtpmd.ipc.rules import Side, State
from vtpmd.supervisor.errors import WorkerEndedError
from vtpmd.supervisor.worker import Worker
from vtpmd.supervisor.zygote import WorkerProcess


def ended_process() -> tuple[int, int]:
    """A process id and the pidfd that says that it has ended."""
    with subprocess.Popen(["true"]) as process:
        return process.pid, os.pidfd_open(process.pid)


async def test_the_end_is_told_after_the_last_message_has_been_read() -> None:
    """Whoever attends to the end closes the channel, and an answer in it would be lost."""
    pid, pidfd = ended_process()
    ours, theirs = Channel.pair()
    ours.setblocking(False)
    channel = Channel(ours, Side.SUPERVISOR, State.SERVING)
    worker = Worker(WorkerProcess(channel, pid, pidfd), lambda pid, event: True)
    peer = Channel(theirs, Side.WORKER, State.SERVING)
    peer.meet()
    answers = []

    async def attend() -> None:
        await worker.ended()
        worker.close()

    async def stop() -> None:
        answers.append(await worker.ask(Stop("test"), Stopped))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attend)
        nursery.start_soon(worker.run)
        nursery.start_soon(stop)
        await trio.lowlevel.wait_readable(peer)
        assert peer.receive()[0] == Stop("test")
        peer.send(Stopped(7))
        peer.close()
    assert answers == [Stopped(7)]


REPLY = StatusReply(UUID(int=0), "web1")


def serving() -> tuple[Worker, Channel, subprocess.Popen[bytes]]:
    """A worker that serves, its own end of the channel, which has been met, and its process."""
    process = subprocess.Popen(["sleep", "60"])
    ours, theirs = Channel.pair()
    ours.setblocking(False)
    channel = Channel(ours, Side.SUPERVISOR, State.SERVING)
    described = WorkerProcess(channel, process.pid, os.pidfd_open(process.pid))
    peer = Channel(theirs, Side.WORKER, State.SERVING)
    peer.meet()
    return Worker(described, lambda pid, event: True), peer, process


@pytest.mark.parametrize(("said", "known"), [(0, 0), (17, 17), (NO_NUMBER, -1)])
async def test_who_uses_it_is_known_as_its_worker_says(
    nursery: trio.Nursery, said: int, known: int
) -> None:
    worker, peer, process = serving()
    with process:
        nursery.start_soon(worker.run)
        nursery.start_soon(worker.ask, Status(), StatusReply)
        await trio.testing.wait_all_tasks_blocked()
        assert peer.receive()[0] == Status()
        peer.send(replace(REPLY, machine=said))
        await trio.testing.wait_all_tasks_blocked()
        assert worker.machine == known
        worker.kill()
    await worker.ended()
    worker.close()
    peer.close()


async def test_an_answer_that_nobody_waits_for_any_more_is_not_that_to_the_next_question(
    nursery: trio.Nursery,
) -> None:
    worker, peer, process = serving()
    with process:
        nursery.start_soon(worker.run)
        with trio.move_on_after(0.01) as impatient:
            await worker.ask(ReadPcrs(), Pcrs)
        assert impatient.cancelled_caught
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await worker.ask(Status(), StatusReply))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        for question, answer in ((ReadPcrs(), Pcrs({})), (Status(), REPLY)):
            assert peer.receive()[0] == question
            peer.send(answer)
        await trio.testing.wait_all_tasks_blocked()
        assert answers == [REPLY]
        worker.kill()
    await worker.ended()
    worker.close()
    peer.close()


async def test_whoever_answers_unasked_is_ended_and_answers_nothing_more(
    nursery: trio.Nursery,
) -> None:
    """Else its lie would be the answer to the next question, whatever that is."""
    worker, peer, process = serving()
    with process:
        nursery.start_soon(worker.run)
        peer.send(REPLY)
        with trio.fail_after(60):
            await worker.ended()
        with pytest.raises(WorkerEndedError):
            await worker.ask(Status(), StatusReply)
    assert process.returncode == -9
    worker.close()
    peer.close()


async def test_whoever_is_closed_is_neither_killed_nor_closed_in_anothers_place() -> None:
    """The number of its pidfd may be that of any other process by then."""
    worker, peer, process = serving()
    worker.close()
    other = os.pidfd_open(process.pid)
    worker.kill()
    with process:
        assert process.poll() is None
        process.kill()
    os.close(other)
    peer.close()
