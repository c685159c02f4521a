"""A worker killed at any point of a write has written all or nothing, and all once it answered."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.bystander import Bystander
from tests.faults.machine import (
    INCREMENT,
    INDEX_SIZE,
    RC_AUTH_FAIL,
    RC_FAILURE,
    WRONG_PASSWORD,
    Machine,
    write_command,
)
from tests.faults.tracing import calls, killing, needs_tracing, traced
from tests.peers.client import PeerError
from tests.peers.vtpmd import Vtpmd, VtpmdInstance

MEMORY = {"brk", "mmap", "munmap", "mremap", "madvise"}
PLACES = {"pwritev2", "sendto"}  # must be among the points
ROUNDS = 12


@dataclass(frozen=True)
class Change:
    """A command that adds one to a value in NV; a disorderly restart may add `restart` to it."""

    command: Callable[[int], bytes]
    code: int
    value: Callable[[Machine], int]
    restart: int = 0


def _write(value: int) -> bytes:
    return write_command(value.to_bytes(INDEX_SIZE))


CHANGES = {
    "NV_Write": Change(_write, 0, lambda machine: int.from_bytes(machine.read())),
    "NV_Increment": Change(lambda _: INCREMENT, 0, Machine.count),
    # Losing power after a guess counts as another one (Part 1, 19.8.6).
    "failed authorization": Change(
        lambda _: WRONG_PASSWORD, RC_AUTH_FAIL, Machine.lockout_counter, restart=1
    ),
}


@pytest.fixture(scope="module")
def bystander(host: Vtpmd) -> VtpmdInstance:
    return host.create("bystander")


def revive(instance: VtpmdInstance, killed: int) -> None:
    """Start it again as an administrator does, if the supervisor has not done so by then."""
    instance.wait_for(
        lambda info: (
            info["state"] != "running" or (info["worker"] and info["worker"]["pid"] != killed)
        ),
        "the end of its worker noticed",
    )
    status, answer = instance.start()
    assert status == 200, answer


def is_lost(machine: Machine, command: bytes) -> bool:
    """Whether a command's worker has ended: the connection has, too, or the next worker says so."""
    try:
        code = machine.code(command)
    except (PeerError, OSError):
        return True
    assert code in (0, RC_FAILURE)
    return code == RC_FAILURE


@pytest.mark.slow
@needs_tracing
@pytest.mark.parametrize("name", CHANGES)
def test_killed_at_any_system_call(
    host: Vtpmd, bystander: VtpmdInstance, name: str, tmp_path: Path
) -> None:
    change = CHANGES[name]
    instance = host.create(name.replace(" ", "-"))
    log = tmp_path / "strace"
    with Machine(instance) as machine:
        machine.define_indices()
        machine.code(change.command(1))
        with traced(instance.process(), log):
            assert machine.code(change.command(2)) == change.code
        last = change.value(machine)
    points = [call for call in calls(log) if call[0] not in MEMORY | {"epoll_wait"}]
    assert {name for name, _ in points} >= PLACES
    written = [name for name, _ in points].index("pwritev2")
    with Bystander(bystander):
        for index, point in enumerate(points):
            old, new = last, last + 1
            killed = instance.process()
            with Machine(instance) as machine:
                assert change.value(machine) == old
                with traced(killed, log, *killing(point)):
                    assert is_lost(machine, change.command(new))
            assert calls(log)[-1] == point
            revive(instance, killed)
            with Machine(instance) as machine:
                last = change.value(machine)
            # One system call divides before from after; the answer would have come later still.
            durable = new if index > written else old
            assert durable <= last <= durable + change.restart


def test_killed_right_after_the_answer(host: Vtpmd) -> None:
    instance = host.create("answered")
    pid = instance.process()
    with Machine(instance) as machine:
        machine.define_indices()
        machine.write(b"\x5a" * INDEX_SIZE)
        machine.increment()
        assert machine.code(WRONG_PASSWORD) == RC_AUTH_FAIL
        expected = machine.read(), machine.count(), machine.lockout_counter()
        machine.write(b"\xa5" * INDEX_SIZE)
        os.kill(pid, signal.SIGKILL)
    # Nobody asks for it: the supervisor restarts the worker by itself.
    instance.wait_for(
        lambda info: info["worker"] is not None and info["worker"]["pid"] != pid, "a new worker"
    )
    with Machine(instance) as machine:
        assert machine.read() == b"\xa5" * INDEX_SIZE
        assert machine.count() == expected[1]
        assert machine.lockout_counter() >= expected[2] == 1


@pytest.mark.slow
def test_killed_amid_a_burst_of_writes(host: Vtpmd) -> None:
    """No tracing: whenever the signal comes, the last answered write or the next one is there."""
    instance = host.create("burst")
    with Machine(instance) as machine:
        machine.define_indices()
    value = 0
    for burst in range(ROUNDS):
        pid = instance.process()
        with Machine(instance) as machine:
            begun = threading.Event()
            last = value + 3 * burst
            killer = threading.Thread(target=_kill_after, args=(begun, pid))
            killer.start()
            while True:
                if is_lost(machine, _write(value + 1)):
                    break
                value += 1
                if value >= last:
                    begun.set()
            killer.join()
        revive(instance, pid)
        with Machine(instance) as machine:
            found = int.from_bytes(machine.read())
        assert found in (value, value + 1)
        value = found


def _kill_after(begun: threading.Event, pid: int) -> None:
    begun.wait()
    os.kill(pid, signal.SIGKILL)
