"""A new daemon and the worker it finds."""

import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
import trio

from vtpmd.ipc.channel import Channel
from vtpmd.ipc.messages import Event, Side, State, Status, StatusReply
from vtpmd.supervisor.errors import WorkerEndedError
from vtpmd.supervisor.worker import adopt

DEADLINE = 10.0
FOREIGN = 1  # some process that is not the worker


@pytest.fixture
def listener(short_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(short_path / "worker"))
        listener.listen()
        yield listener


def lie(listener: socket.socket) -> None:
    """Answer twice as a worker would, with the process id of another process."""
    connection, _ = listener.accept()
    connection.settimeout(DEADLINE)
    channel = Channel(connection, Side.WORKER, State.SERVING)
    for _ in range(2):
        assert channel.receive() == (Status(), [])
        channel.send(Event("client-connected", ""))
        channel.send(StatusReply(UUID(int=0), "x", FOREIGN, 1, "on", 0, {}, 0, 0, "available"))
    channel.close()


async def test_a_worker_cannot_give_another_process_for_itself(
    nursery: trio.Nursery, listener: socket.socket
) -> None:
    lying = partial(trio.to_thread.run_sync, abandon_on_cancel=True)
    nursery.start_soon(lying, lie, listener)
    events: list[Event] = []
    worker = await adopt(Path(listener.getsockname()), events.append)
    assert worker.pid == os.getpid()
    assert [event.kind for event in events] == ["client-connected"] * 2
    worker.close()


async def test_a_socket_that_nobody_answers_on_has_no_worker(
    listener: socket.socket, autojump_clock: trio.abc.Clock
) -> None:
    path = Path(listener.getsockname())
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(WorkerEndedError, match="TooSlowError"):
        await adopt(path, lambda event: None)
    listener.close()
    with pytest.raises(WorkerEndedError, match="ConnectionRefusedError"):
        await adopt(path, lambda event: None)
    assert len(os.listdir("/proc/self/fd")) == descriptors - 1  # the listener's
