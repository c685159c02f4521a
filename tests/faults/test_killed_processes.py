"""Supervisor, zygote and workers killed: what was not killed goes on, what was comes back."""

import os
import signal
from pathlib import Path

import pytest

from tests.bench.encoding import CONTEXT_SAVE, START_AUTH_SESSION, command, first_sized, sized
from tests.faults.bystander import Bystander
from tests.faults.machine import INDEX_SIZE, RC_FAILURE, Machine, answers
from tests.peers.client import DataSocket
from tests.peers.vtpmd import Vtpmd

NULL = 0x40000007
POLICY_GET_DIGEST, POLICY_COMMAND_CODE = 0x189, 0x16C
CRASHES = 5  # within ten minutes, before an instance is left alone
READ_CLOCK = command(0x181)


def policy_session(machine: Machine) -> int:
    """A policy session that has been used, and so has a digest of its own."""
    area = sized(bytes(16)) + sized(b"") + b"\x01" + bytes.fromhex("0010000b")
    handle, _ = machine.succeed(command(START_AUTH_SESSION, (NULL, NULL), area), with_handle=True)
    machine.succeed(command(POLICY_COMMAND_CODE, (handle,), bytes.fromhex("0000015e")))
    return handle


def policy_digest(machine: Machine, session: int) -> bytes:
    _, parameters = machine.succeed(command(POLICY_GET_DIGEST, (session,)))
    return first_sized(parameters)[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_supervisor_replaced_amid_a_session(daemon: Vtpmd, number: int) -> None:
    """The machine's own connections go on: it notices nothing, whatever it had loaded."""
    instance = daemon.create("web1")
    worker = instance.process()
    with Machine(instance) as machine:
        machine.define_indices()
        machine.extend(b"\x07" * 32)
        key, session = machine.storage_key(), policy_session(machine)
        before = machine.pcr(), policy_digest(machine, session)
        daemon.end(number)
        machine.write(b"\x01" * INDEX_SIZE)  # nobody supervises now
        assert (machine.pcr(), policy_digest(machine, session)) == before
        daemon.start()
        info = instance.info()
        assert (info["state"], info["worker"]["pid"]) == ("running", worker)
        assert info["worker"]["tpm"] == "on"
        assert info["worker"]["clients"] >= 2
        assert (machine.pcr(), policy_digest(machine, session)) == before
        machine.succeed(command(CONTEXT_SAVE, (key,)))
        machine.control.command(1)
        assert instance.process() == worker
    assert daemon.control("pcr", "web1")["banks"]["sha256"]["16"] == before[0].hex()
    instance.restart()
    assert instance.process() != worker
    with Machine(instance) as machine:
        assert machine.read() == b"\x01" * INDEX_SIZE
    if os.geteuid() == 0:
        assert workers_of(daemon) == {instance.process()}


def test_supervisor_and_worker_killed_together(daemon: Vtpmd) -> None:
    instance = daemon.create("web1")
    with Machine(instance) as machine:
        machine.define_indices()
        machine.write(b"\x02" * INDEX_SIZE)
        worker = os.pidfd_open(instance.process())
        daemon.end(signal.SIGKILL)
        signal.pidfd_send_signal(worker, signal.SIGKILL)
        os.close(worker)
    daemon.start()
    instance.wait_for(lambda info: info["state"] == "running", "served again")
    with Machine(instance) as machine:
        assert machine.read() == b"\x02" * INDEX_SIZE


def test_stopped_supervisor_stops_no_machine(daemon: Vtpmd) -> None:
    """SIGSTOP: a supervisor that hangs, with nobody to take in what workers report."""
    instance = daemon.create("web1")
    os.kill(daemon.process(), signal.SIGSTOP)
    try:
        for _ in range(100):  # each tells of itself: powered on, connected, disconnected
            with Machine(instance) as machine:
                machine.pcr()
    finally:
        os.kill(daemon.process(), signal.SIGCONT)
    assert instance.info()["worker"]["tpm"] == "on"


def test_zygote_killed(host: Vtpmd) -> None:
    instance = host.create("before")
    with Bystander(instance):
        for name in ("after1", "after2"):
            (zygote,) = children(host.process())
            os.kill(zygote, signal.SIGKILL)
            assert host.create(name).info()["state"] == "running"
    instance.kill()  # and workers are still replaced
    assert instance.info()["state"] == "running"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers_of(daemon: Vtpmd) -> set[int]:
    """The worker processes that use a daemon's state directory; only root can tell."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            targets = [os.readlink(fd) for fd in (process / "fd").iterdir()]
        except OSError:
            continue
        if any(target.startswith(f"{daemon.state}/instances/") for target in targets):
            found.add(int(process.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_worker_killed(host: Vtpmd, number: signal.Signals) -> None:
    instance = host.create(number.name.lower())
    with Machine(instance) as machine, Bystander(host.create(f"other-{number.name}")):
        machine.define_indices()
        machine.write(b"\x03" * INDEX_SIZE)
        machine.extend(b"\x03" * 32)
        instance.kill(number)
    info = instance.info()
    assert info["state"] == "running"
    assert "ended unexpectedly" in info["reason"]
    # Its machine must be reset: a TPM with empty PCRs must not pass for the one there was.
    assert not answers(instance)
    refusal = DataSocket(instance.data).execute(READ_CLOCK)
    assert int.from_bytes(refusal[6:10], "big") == RC_FAILURE
    with Machine(instance) as machine:
        assert machine.read() == b"\x03" * INDEX_SIZE
        assert machine.pcr() == bytes(32)
    assert not list(instance.directory.glob("core*"))


def test_worker_terminated(host: Vtpmd) -> None:
    """SIGTERM from outside: in order, and served again."""
    instance = host.create("terminated")
    with Machine(instance) as machine:
        machine.define_indices()
    instance.kill(signal.SIGTERM)
    with Machine(instance) as machine:
        assert machine.count() == 1


def test_crash_loop_comes_to_an_end(host: Vtpmd) -> None:
    """A worker that ends again and again is left alone in the end, and says so."""
    instance = host.create("loop")
    with Bystander(host.create("calm")):
        for crash in range(CRASHES + 1):
            worker = instance.process()
            os.kill(worker, signal.SIGKILL)
            info = instance.wait_for(lambda info: info["state"] == "failed", "failed")
            assert f"process {worker}" in info["reason"]
            if crash < CRASHES:
                assert "next attempt in" in info["reason"]
                assert instance.start()[0] == 200  # without waiting for it
    assert f"{CRASHES} times" in info["reason"]
    assert "now only every" in info["reason"]
    assert instance.info()["state"] == "failed"
    assert instance.start()[0] == 200  # an administrator may know better
    with Machine(instance) as machine:
        machine.define_indices()


def test_adoption_socket_of_a_dead_worker(daemon: Vtpmd) -> None:
    """What a reboot leaves in the runtime directory is in nobody's way."""
    instance = daemon.create("web1")
    worker = os.pidfd_open(instance.process())
    daemon.end(signal.SIGKILL)
    signal.pidfd_send_signal(worker, signal.SIGKILL)
    os.close(worker)
    assert instance.adoption.exists()
    assert instance.control.exists()
    daemon.start()
    instance.wait_for(lambda info: info["state"] == "running", "served again")
    assert instance.control.exists()
