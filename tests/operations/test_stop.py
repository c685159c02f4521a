"""Stop: in good order, and by force where a worker or a machine does not let it."""

import os
import select
import signal
import socket
import time
from typing import Any

import pytest
import trio
import trio.testing

from tests.operations.steps import there
from tests.operations.test_upgrade import attached
from tests.supervisor.harness import GET_RANDOM_8
from tests.supervisor.stage import Stage, staged, until
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, InstanceInfo, StopRequest
from vtpmd.ipc.messages import Stop
from vtpmd.operations.create import create
from vtpmd.operations.info import info
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.serving import STOP_GRACE
from vtpmd.supervisor.worker import Worker

FORCE = StopRequest(force=True)
SOON = 4.0  # two seconds where nobody else wants the processors


async def frozen(stage: Stage) -> InstanceInfo:
    """An instance whose worker does not react."""
    made = await create(stage.fleet, CreateRequest(name="web1"))
    assert made.worker is not None
    os.kill(made.worker.pid, signal.SIGSTOP)
    return made


@pytest.mark.parametrize("request_", [StopRequest(), FORCE])
async def test_a_worker_that_does_not_react_is_killed_soon(
    stage: Stage, request_: StopRequest
) -> None:
    made = await frozen(stage)
    began = time.monotonic()
    stopped = await stop(stage.fleet, "web1", request_)
    assert STOP_GRACE <= time.monotonic() - began < SOON
    assert (stopped.state, stopped.autostart) == ("stopped", False)
    assert not there(made)
    assert (await start(stage.fleet, "web1")).state == "running"


async def test_nobody_is_waited_for(stage: Stage) -> None:
    """Neither for a stop without force that goes on, nor for a question to the worker."""
    made = await frozen(stage)
    began = time.monotonic()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(info, stage.fleet, made.name)
        nursery.start_soon(stop, stage.fleet, made.name, StopRequest())
        await trio.testing.wait_all_tasks_blocked()
        await stop(stage.fleet, made.name, FORCE)
    assert time.monotonic() - began < SOON
    assert (await info(stage.fleet, made.name)).state == "stopped"


async def test_a_worker_that_reacts_ends_in_good_order(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told to let its clients go first, and nobody kills it."""
    asked: list[object] = []
    killed: list[Worker] = []
    ask, kill = Worker.ask, Worker.kill

    async def note_and_ask(worker: Worker, request: Any, *rest: Any) -> Any:
        asked.append(request)
        return await ask(worker, request, *rest)

    def note_and_kill(worker: Worker) -> None:
        killed.append(worker)
        kill(worker)

    monkeypatch.setattr(Worker, "ask", note_and_ask)
    monkeypatch.setattr(Worker, "kill", note_and_kill)

    made = await create(stage.fleet, CreateRequest(name="web1", data_socket=True))
    assert made.data_socket is not None
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(made.data_socket)
        client.sendall(GET_RANDOM_8)
        assert len(await trio.to_thread.run_sync(client.recv, 100)) == 20
        await stop(stage.fleet, "web1", FORCE)
        assert client.recv(100) == b""
    assert Stop("stopped by an administrator", force=True) in asked
    assert killed == []
    assert (await start(stage.fleet, "web1")).state == "running"


@pytest.mark.parametrize("request_", [StopRequest(), FORCE])
async def test_a_stopped_instance_stays_stopped(stage: Stage, request_: StopRequest) -> None:
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    assert (await stop(stage.fleet, "web1", request_)).state == "stopped"


async def test_nothing_is_said_to_be_stopped_while_somebody_holds_it(stage: Stage) -> None:
    made = await create(stage.fleet, CreateRequest(name="web1", start=False))
    with stage.host.registry.claimed(made.uuid):
        with pytest.raises(OperationError, match="still holds its state") as refused:
            await stop(stage.fleet, "web1", StopRequest())
        assert refused.value.problem is problems.RUNNING_CONFLICT
    assert (await stop(stage.fleet, "web1", StopRequest())).state == "stopped"


@pytest.mark.parametrize("number", [signal.SIGCONT, signal.SIGSTOP], ids=["alive", "frozen"])
async def test_a_worker_that_the_daemon_has_lost_is_ended(
    stage: Stage, number: signal.Signals
) -> None:
    """Its socket is gone, so that no daemon reaches it; that it serves the kernel says."""
    made = await create(stage.fleet, CreateRequest(name="web1"))
    assert made.worker is not None
    os.unlink(f"{stage.directory}/run/workers/{made.uuid}")
    os.kill(made.worker.pid, number)
    fresh = Fleet(stage.host)
    await fresh.open(stage.host.registry.load())
    with trio.fail_after(60):
        while (await info(fresh, "web1")).state != "failed":
            await trio.lowlevel.checkpoint()
    ended = os.pidfd_open(made.worker.pid)
    try:
        assert (await stop(fresh, "web1", StopRequest())).state == "stopped"
        assert select.select([ended], [], [], 0)[0]
    finally:
        os.close(ended)


async def test_what_a_machine_uses_is_stopped_by_force_alone(stage: Stage) -> None:
    made = await create(stage.fleet, CreateRequest(name="web1"))
    assert (made.reason, made.machine) == ("ready: QEMU can connect", 0)
    with attached(made):
        used = await info(stage.fleet, "web1")
        assert (used.reason, used.machine) == (f"in use by QEMU (pid {os.getpid()})", os.getpid())
        with pytest.raises(OperationError) as refused:
            await stop(stage.fleet, "web1", StopRequest())
        assert refused.value.problem is problems.IN_USE
        assert refused.value.detail == (
            f"web1 cannot be stopped: it is in use by QEMU (pid {os.getpid()}), whose guest would "
            "get errors from its TPM until the machine is shut down and started anew."
        )
        assert (await info(stage.fleet, "web1")).autostart
        assert (await stop(stage.fleet, "web1", FORCE)).state == "stopped"
    await start(stage.fleet, "web1")
    with attached(made):
        pass
    assert (await stop(stage.fleet, "web1", StopRequest())).state == "stopped"


async def test_the_list_knows_soon_who_uses_a_tpm(stage: Stage) -> None:
    """The worker tells that somebody has come or gone, and is asked who."""

    def listed() -> str:
        return stage.fleet.find("web1").reason

    made = await create(stage.fleet, CreateRequest(name="web1"))
    with attached(made):
        await until(lambda: listed().startswith("in use by QEMU"))
    await until(lambda: listed() == "ready: QEMU can connect")


async def test_what_sleeps_with_its_machine_connected_is_in_use(nursery: trio.Nursery) -> None:
    async with staged(nursery, idle_timeout=0.05) as stage:
        made = await create(stage.fleet, CreateRequest(name="web1"))
        with attached(made):
            instance = stage.fleet.find("web1")
            await until(lambda: instance.asleep)
            assert instance.reason.endswith(f"; QEMU (pid {os.getpid()}) stays connected")
            with pytest.raises(OperationError) as refused:
                await stop(stage.fleet, "web1", StopRequest())
            assert refused.value.problem is problems.IN_USE
            await stop(stage.fleet, "web1", FORCE)


async def test_a_worker_that_crashed_keeps_nobody_from_stopping(stage: Stage) -> None:
    made = await create(stage.fleet, CreateRequest(name="web1"))
    with attached(made):
        used = await info(stage.fleet, "web1")
        assert used.worker is not None
        os.kill(used.worker.pid, signal.SIGKILL)
        await until(lambda: stage.fleet.find("web1").condition.state != "running")
        assert (await info(stage.fleet, "web1")).machine == 0
        assert (await stop(stage.fleet, "web1", StopRequest())).state == "stopped"
