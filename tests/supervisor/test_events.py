"""A worker that floods its supervisor, or ends while it speaks: what the log has of it."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import structlog
import trio
from trio.testing import MockClock

from tests.compat.samples import METADATA
from tests.supervisor.stage import Stage
from vtpmd.ipc.channel import Channel, ChannelClosedError
from vtpmd.ipc.messages import Event, Examine, Examined
from vtpmd.ipc.quota import INTERVAL, MAX_DETAIL
from vtpmd.ipc.rules import Side, State
from vtpmd.supervisor.errors import WorkerEndedError
from vtpmd.supervisor.events import MAX_KIND, EventLog
from vtpmd.supervisor.launch import carry_out
from vtpmd.supervisor.worker import Worker
from vtpmd.supervisor.zygote import WorkerProcess
from vtpmd.telemetry import log

DEADLINE = 60.0


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    yield stream
    structlog.reset_defaults()


def logged(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def event_log(nursery: trio.Nursery) -> EventLog:
    return EventLog(nursery, log.get_logger("worker").bind(instance="web1"))


async def test_an_event_is_labelled_by_the_daemon_and_cut_off(
    nursery: trio.Nursery, lines: io.StringIO
) -> None:
    forged = '\n{"event": "audit", "uid": 0}\x1b[2J'
    assert event_log(nursery).write(42, Event("k" * 1000, forged + "x" * 8000))
    (line,) = logged(lines)
    assert (line["component"], line["instance"], line["pid"]) == ("worker", "web1", 42)
    assert line["event"] == "worker-event"
    assert line["kind"] == "k" * MAX_KIND
    assert line["detail"] == (forged + "x" * 8000)[:MAX_DETAIL]
    assert "\x1b" not in lines.getvalue()


async def test_a_flood_is_counted_and_told_once_per_interval(
    nursery: trio.Nursery, lines: io.StringIO, autojump_clock: MockClock
) -> None:
    events = event_log(nursery)
    admitted = sum(events.write(42, Event("client-connected")) for _ in range(1234))
    assert admitted == len(logged(lines)) == 40
    await trio.sleep(INTERVAL + 0.1)
    assert [line["event"] for line in logged(lines)[40:]] == ["worker-events-suppressed"]
    assert logged(lines)[40]["count"] == 1234 - 40
    assert events.write(42, Event("client-connected"))


async def test_what_was_suppressed_is_told_when_the_daemon_ends(lines: io.StringIO) -> None:
    async with trio.open_nursery() as nursery:
        events = event_log(nursery)
        for _ in range(50):
            events.write(42, Event("client-connected"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert logged(lines)[-1]["count"] == 10


def child() -> tuple[WorkerProcess, Channel, subprocess.Popen[bytes]]:
    """A process that waits for its input to end, and both ends of a channel as if to it."""
    ours, theirs = Channel.pair()
    ours.setblocking(False)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    pidfd = os.pidfd_open(process.pid)
    channel = Channel(ours, Side.SUPERVISOR, State.SERVING)
    return WorkerProcess(channel, 42, pidfd), Channel(theirs, Side.WORKER, State.SERVING), process


def flood(channel: Channel, sent: list[int]) -> None:
    try:
        while True:
            channel.send(Event("client-connected"))
            sent[0] += 1
    except ChannelClosedError:
        return


async def test_a_worker_that_floods_is_listened_to_slowly(
    nursery: trio.Nursery, lines: io.StringIO
) -> None:
    """It fills its end of the channel and waits there; the daemon has next to no work with it."""
    described, theirs, process = child()
    worker = Worker(described, event_log(nursery).write)
    sent = [0]
    thread = threading.Thread(target=flood, args=(theirs, sent))
    with process:
        nursery.start_soon(worker.run)
        thread.start()
        await trio.sleep(1)  # the time in which a flood is measured
        worker.kill()
        worker.close()
    await trio.to_thread.run_sync(thread.join)
    theirs.close()
    assert len(logged(lines)) < 60
    assert sent[0] < 1000
    nursery.cancel_scope.cancel()


async def test_what_a_worker_said_last_is_read_before_its_end(
    nursery: trio.Nursery, lines: io.StringIO
) -> None:
    described, theirs, process = child()
    worker = Worker(described, event_log(nursery).write)
    for number in range(5):
        theirs.send(Event("defect", str(number)))
    theirs.close()
    process.kill()
    process.communicate()
    nursery.start_soon(worker.run)
    with trio.fail_after(DEADLINE):
        await worker.ended()
    worker.close()
    assert [line["detail"] for line in logged(lines)] == list("01234")
    assert {line["level"] for line in logged(lines)} == {"error"}


async def test_a_worker_that_speaks_on_without_living_holds_nobody_up(
    nursery: trio.Nursery, lines: io.StringIO, autojump_clock: MockClock
) -> None:
    """Somebody else may have its end of the channel."""
    described, theirs, process = child()
    process.kill()
    process.communicate()
    worker = Worker(described, event_log(nursery).write)
    nursery.start_soon(worker.run)
    with trio.fail_after(DEADLINE):
        await worker.ended()
    theirs.close()
    worker.close()


async def test_how_a_worker_ended_that_could_not_tell_is_logged(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, lines: io.StringIO
) -> None:
    spawn = stage.host.zygote.spawn

    async def doomed(uuid: UUID, name: str, lock: int | None = None) -> WorkerProcess:
        child = await spawn(uuid, name, lock)
        signal.pidfd_send_signal(child.pidfd, signal.SIGABRT)
        await trio.lowlevel.wait_readable(child.pidfd)
        return child

    monkeypatch.setattr(stage.host.zygote, "spawn", doomed)
    order = Examine(METADATA.uuid, METADATA.name, bytearray(32))
    with pytest.raises(WorkerEndedError):
        await carry_out(stage.host, METADATA, order, Examined, [0])
    (line,) = [line for line in logged(lines) if line["event"] == "worker-ended"]
    assert (line["uuid"], line["how"]) == (str(METADATA.uuid), "SIGABRT")
