"""A worker that does not answer is told, and told apart from one that has much to do."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.supervisor.stage import DEADLINE, Stage
from tests.supervisor.test_worker import REPLY, serving
from vtpmd.api.schema import CreateRequest
from vtpmd.ipc.messages import Pcrs, ReadPcrs, Rewrap, Status, StatusReply
from vtpmd.operations.create import create
from vtpmd.operations.info import info
from vtpmd.operations.list import list_
from vtpmd.supervisor import watch as watching
from vtpmd.supervisor import worker as workers
from vtpmd.supervisor.errors import WorkerSilentError
from vtpmd.supervisor.watch import watch
from vtpmd.supervisor.worker import INTERVAL, PATIENCE, REPLY_TIMEOUT, Worker

SOON = 4.0  # two seconds where nobody else wants the processors


async def test_a_question_without_an_answer_is_silence_until_there_is_one(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    worker, peer, process = serving()
    with process:
        nursery.start_soon(worker.run)
        await trio.sleep(INTERVAL)
        assert not worker.look()
        assert peer.receive()[0] == Status()
        await trio.sleep(PATIENCE - 0.1)
        assert not worker.look()
        await trio.sleep(0.1)
        assert worker.silent
        assert worker.look()
        assert not worker.look()  # told once
        assert f"(process {worker.pid}) has not answered for 5 s" in worker.trouble
        with pytest.raises(WorkerSilentError, match="has not answered"):
            await worker.ask(ReadPcrs(), Pcrs)
        peer.send(REPLY)
        await trio.testing.wait_all_tasks_blocked()
        assert worker.look()
        assert worker.trouble == ""
        _end(worker)
    peer.close()


async def test_who_only_looks_waits_once(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """`vtpmctl info` has several questions, and two seconds for all of them."""
    worker, peer, process = serving()
    with process:
        nursery.start_soon(worker.run)
        began = trio.current_time()
        for request, expected in ((Status(), StatusReply), (ReadPcrs(), Pcrs), (ReadPcrs(), Pcrs)):
            with pytest.raises(WorkerSilentError):
                await worker.ask(request, expected)
        assert trio.current_time() - began < 2.0
        assert not worker.silent
        _end(worker)
    peer.close()


async def test_it_is_asked_again_only_after_a_while_and_never_twice_at_once(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    worker, peer, process = serving()
    with process:
        nursery.start_soon(worker.run)
        await trio.sleep(INTERVAL)
        for _ in range(3):
            worker.look()
            await trio.sleep(INTERVAL / 2)
        assert peer.receive()[0] == Status()
        peer.send(REPLY)
        await trio.testing.wait_all_tasks_blocked()
        worker.look()
        assert peer.receive()[0] == Status()
        _end(worker)
    peer.close()


async def test_what_waits_for_a_long_command_is_no_silence(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """A rekey waits for the end of an RSA key; nothing else is asked meanwhile."""
    worker, peer, process = serving()
    with process:
        nursery.start_soon(worker.run)
        nursery.start_soon(_give_up_on, worker)
        await trio.sleep(REPLY_TIMEOUT - 1)
        assert not worker.look()
        await trio.sleep(1)
        assert worker.look()
        _end(worker)
    peer.close()


async def _give_up_on(worker: Worker) -> None:
    with pytest.raises(WorkerSilentError):
        await worker.ask(Rewrap(()), StatusReply)


def _end(worker: Worker) -> None:
    worker.kill()
    worker.close()


async def test_what_it_says_of_its_storage_is_shown_as_a_text(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    worker, peer, process = serving()
    with process:
        nursery.start_soon(worker.run)
        for said, shown in (
            ("cannot write\x1b[2J", "its state cannot be stored: cannot write\\x1b[2J"),
            ("available", ""),
        ):
            worker.inquire()
            peer.receive()
            peer.send(StatusReply(REPLY.uuid, "web1", storage=said))
            await trio.testing.wait_all_tasks_blocked()
            assert worker.trouble == shown
        _end(worker)
    peer.close()


class Idle:
    """An instance that has to be looked at every half a minute, as one does that answers."""

    def __init__(self, due: float) -> None:
        self._due = due
        self.late = 0.0

    def look(self) -> float:
        now = trio.current_time()
        if now >= self._due:
            self.late = max(self.late, now - self._due)
            self._due = now + INTERVAL
        return self._due


class Rounds(list[Idle]):
    """`rounds`: how often somebody goes has gone through them."""

    rounds = 0

    def __iter__(self) -> Iterator[Idle]:
        self.rounds += 1
        return super().__iter__()


@pytest.mark.parametrize(("instances", "most"), [(0, 12), (1, 14), (5, 20), (1000, 60)])
async def test_an_idle_host_is_left_alone(
    instances: int, most: int, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """A minute of a daemon whose TPMs nobody uses; yet none is looked at late."""
    began = trio.current_time()
    idle = Rounds(Idle(began + number * INTERVAL / instances) for number in range(instances))
    nursery.start_soon(watch, idle)
    await trio.sleep(2 * INTERVAL)
    assert idle.rounds <= most
    assert max((each.late for each in idle), default=0.0) <= watching.ROUND


async def test_who_answers_is_due_when_it_is_asked_again(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    worker, peer, process = serving()
    with process:
        nursery.start_soon(worker.run)
        await trio.sleep(INTERVAL)
        worker.look()
        asked = trio.current_time()
        assert worker.due == asked + PATIENCE
        peer.receive()
        peer.send(REPLY)
        await trio.testing.wait_all_tasks_blocked()
        assert worker.due == asked + INTERVAL
        await trio.sleep(INTERVAL)
        worker.look()
        await trio.sleep(PATIENCE)
        worker.look()
        assert worker.silent
        assert worker.due > trio.current_time()
        _end(worker)
    peer.close()


async def test_a_worker_that_hangs_is_told_and_keeps_nobody_waiting(
    stage: Stage, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "INTERVAL", 0.01)
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    monkeypatch.setattr(watching, "ROUND", 0.02)
    made = await create(stage.fleet, CreateRequest(name="web1"))
    assert made.worker is not None
    with capture_logs() as logs:
        nursery.start_soon(watch, stage.fleet)
        os.kill(made.worker.pid, signal.SIGSTOP)
        await _until(stage, lambda reason: "has not answered" in reason)
        await _told(logs, "worker-silent")
        began = time.monotonic()
        found = await info(stage.fleet, "web1")
        assert time.monotonic() - began < SOON
        assert found.state == "running"
        assert "a stop ends it" in found.reason
        assert found.worker is not None
        assert (found.worker.pid, found.worker.tpm) == (made.worker.pid, "unknown")
        os.kill(made.worker.pid, signal.SIGCONT)
        await _until(stage, lambda reason: "has not answered" not in reason)
        with trio.fail_after(DEADLINE):
            while (answered := (await info(stage.fleet, "web1")).worker) is None or (
                answered.tpm != "off"
            ):
                await trio.lowlevel.checkpoint()
        await _told(logs, "worker-answers")
    events = [line["event"] for line in logs if line["event"].startswith("worker-")]
    assert events[0] == "worker-silent"
    assert {line["log_level"] for line in logs if line["event"] == "worker-silent"} == {"warning"}


async def _told(logs: Sequence[EventDict], event: str) -> None:
    with trio.fail_after(DEADLINE):
        while event not in [line["event"] for line in logs]:
            await trio.lowlevel.checkpoint()


async def _until(stage: Stage, holds: Callable[[str], bool]) -> None:
    with trio.fail_after(DEADLINE):
        while not holds((await list_(stage.fleet)).instances[0].reason):
            await trio.lowlevel.checkpoint()
