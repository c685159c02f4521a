"""The supervisor's side of one worker."""

import os
import subprocess

import trio

from vtpmd.ipc.channel import Channel
from vtpmd.ipc.messages import Stop, Stopped
from vtpmd.ipc.rules import Side, State
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
