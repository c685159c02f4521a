"""Upgrade: running TPMs go on in fresh workers, or in the old one, and nobody is disconnected."""

import os
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from tests.operations.steps import wanted
from tests.supervisor.stage import Stage, until
from tests.worker.harness import GET_RANDOM_16, STARTUP_CLEAR, SUCCESS
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import InstanceInfo, StopRequest
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.operations.create import create
from vtpmd.operations.info import info as info_of
from vtpmd.operations.stop import stop
from vtpmd.operations.upgrade import upgrade, upgrade_all
from vtpmd.supervisor import succession

INIT, SET_DATAFD, STOP_TPM, GET_STATEBLOB, SET_STATEBLOB = 0x02, 0x10, 0x0E, 0x0C, 0x0D
PERMANENT = 1


class Guest:
    """A machine's connections to one instance."""

    def __init__(self, control: socket.socket, data: socket.socket) -> None:
        self._control = control
        self._data = data

    async def control(self, command: int, body: bytes = b"") -> bytes:
        self._control.send(struct.pack(">I", command) + body)
        return await _answer(self._control)

    async def state(self, kind: int) -> bytes:
        """All blobs are read, as QEMU does; the one of this kind."""
        blobs = {}
        for each in (1, 2, 3):
            answer = await self.control(GET_STATEBLOB, struct.pack(">III", 1, each, 0))
            length = int.from_bytes(answer[12:16])
            while len(answer) < 16 + length:
                answer += await _answer(self._control)
            blobs[each] = answer[16:]
        return blobs[kind]

    async def tpm(self, command: str) -> bytes:
        self.send(command)
        return await self.answer()

    def send(self, command: str) -> None:
        self._data.send(bytes.fromhex(command))

    async def answer(self) -> bytes:
        return await _answer(self._data)


async def _answer(sock: socket.socket) -> bytes:
    with trio.fail_after(60):
        await trio.lowlevel.wait_readable(sock)
    return sock.recv(4096)


@contextmanager
def attached(info: InstanceInfo) -> Iterator[Guest]:
    data, theirs = socket.socketpair()
    with data, socket.socket(socket.AF_UNIX) as control:
        control.connect(info.control_socket)
        with theirs:
            socket.send_fds(control, [struct.pack(">I", SET_DATAFD)], [theirs.fileno()])
        assert control.recv(4) == bytes(4)
        yield Guest(control, data)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """It does nothing in here."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def started(guest: Guest) -> None:
    assert await guest.control(INIT, bytes(4)) == bytes(4)
    assert (await guest.tpm(STARTUP_CLEAR)).hex() == SUCCESS


def pid_of(info: InstanceInfo) -> int:
    assert info.worker is not None
    return info.worker.pid


async def test_a_running_tpm_goes_on_in_a_fresh_worker(stage: Stage) -> None:
    """The KMS is not asked: it may be away."""
    before = await create(stage.fleet, wanted("web1"))
    stage.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
    asked = stage.provider.unwrapped
    with attached(before) as guest:
        await started(guest)
        for _ in range(3):
            upgraded = await upgrade(stage.fleet, "web1")
            after = await info_of(stage.fleet, "web1")
            assert pid_of(after) == upgraded.pid != pid_of(before)
            assert 0 <= upgraded.pause_ms < 10_000
            assert (after.state, after.since) == (before.state, before.since)
            assert after.reason == f"in use by QEMU (pid {os.getpid()})"
            assert len(await guest.tpm(GET_RANDOM_16)) == 28
            before = after
        assert after.worker is not None
        assert after.worker.tpm == "on"
    assert stage.provider.unwrapped == asked
    assert (await stop(stage.fleet, "web1", StopRequest())).state == "stopped"


async def test_only_what_runs_can_be_upgraded(stage: Stage) -> None:
    await create(stage.fleet, wanted("web1", start=False))
    with pytest.raises(OperationError) as refused:
        await upgrade(stage.fleet, "web1")
    assert refused.value.problem is problems.NOT_RUNNING
    assert (await upgrade_all(stage.fleet)).upgraded == ()


async def test_all_are_upgraded_and_who_can_t_be_is_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(succession, "PATIENCE", 1.0)
    infos = [await create(stage.fleet, wanted(name)) for name in ("web3", "web1", "web2")]
    await create(stage.fleet, wanted("web4", start=False))
    with frozen(pid_of(infos[2])):
        result = await upgrade_all(stage.fleet)
    assert [each.name for each in result.upgraded] == ["web1", "web3"]
    assert [(each.name, each.code) for each in result.failed] == [("web2", "internal")]
    assert pid_of(await info_of(stage.fleet, "web2")) == pid_of(infos[2])


async def test_a_worker_that_does_not_give_way_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes meanwhile is answered by it, once; and the next upgrade succeeds."""
    info = await create(stage.fleet, wanted("web1"))
    with attached(info) as guest:
        await started(guest)
        with monkeypatch.context() as impatient, frozen(pid_of(info)):
            impatient.setattr(succession, "PATIENCE", 0.5)
            with pytest.raises(OperationError) as refused:
                await upgrade(stage.fleet, "web1")
            assert "0 s" in refused.value.detail
            guest.send(GET_RANDOM_16)
        assert len(await guest.answer()) == 28
        assert pid_of(await info_of(stage.fleet, "web1")) == pid_of(info)
        await upgrade(stage.fleet, "web1")
        assert len(await guest.tpm(GET_RANDOM_16)) == 28


async def test_who_is_in_the_middle_of_something_is_not_disturbed(stage: Stage) -> None:
    """State blobs that wait for INIT are known to this worker alone."""
    info = await create(stage.fleet, wanted("web1"))
    with attached(info) as guest:
        await started(guest)
        blob = await guest.state(PERMANENT)
        assert await guest.control(STOP_TPM) == bytes(4)
        head = struct.pack(">III", 2, PERMANENT, len(blob))
        assert await guest.control(SET_STATEBLOB, head + blob) == bytes(4)
        with pytest.raises(OperationError) as refused:
            await upgrade(stage.fleet, "web1")
        assert refused.value.problem is problems.UNAVAILABLE
        assert "blobs" in refused.value.detail
        assert await guest.control(INIT, bytes(4)) == bytes(4)
        await upgrade(stage.fleet, "web1")


async def test_a_successor_that_crashes_is_replaced_as_any_worker_is(stage: Stage) -> None:
    await create(stage.fleet, wanted("web1"))
    upgraded = await upgrade(stage.fleet, "web1")
    os.kill(upgraded.pid, signal.SIGKILL)
    await stage.until("web1", "failed")
    info = await stage.until("web1", "running")
    assert f"process {upgraded.pid}) ended unexpectedly" in info.reason
    await upgrade(stage.fleet, "web1")


async def test_a_worker_that_dies_while_it_is_succeeded_is_replaced(stage: Stage) -> None:
    info = await create(stage.fleet, wanted("web1"))
    os.kill(pid_of(info), signal.SIGSTOP)
    async with trio.open_nursery() as nursery:

        async def refused() -> None:
            with pytest.raises(OperationError):
                await upgrade(stage.fleet, "web1")

        nursery.start_soon(refused)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(pid_of(info), signal.SIGKILL)
    instance = stage.fleet.find("web1")
    await until(lambda: instance.condition.reason.startswith("restarted"))


async def test_it_can_be_stopped_by_force_while_it_is_succeeded(stage: Stage) -> None:
    info = await create(stage.fleet, wanted("web1"))
    os.kill(pid_of(info), signal.SIGSTOP)
    async with trio.open_nursery() as nursery:

        async def refused() -> None:
            with pytest.raises(OperationError):
                await upgrade(stage.fleet, "web1")

        nursery.start_soon(refused)
        await trio.testing.wait_all_tasks_blocked()
        assert (await stop(stage.fleet, "web1", StopRequest(force=True))).state == "stopped"
    assert (await info_of(stage.fleet, "web1")).state == "stopped"
