"""What sleeps while all that could help it is killed, replaced or away; and who has its key."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

import vtpmd
from tests.faults.sealing import dek_of
from tests.faults.test_killed_processes import children
from tests.faults.test_secrets import found, memory
from tests.faults.tracing import needs_root
from tests.supervisor.harness import GET_RANDOM_8, STARTUP_CLEAR, Daemon, running, until
from tests.supervisor.test_sleep_daemon import asleep, keeper_of
from tests.worker.harness import FAILURE, Qemu, tpm
from vtpmd.supervisor import serving_lock

SLEEPERS = 8
"""More than workers are forked ahead of time; `python -m tests.bench.asleep` has any number."""


@pytest.fixture
def daemon(root: Path) -> Iterator[Daemon]:
    with running(root, "idle_timeout: 1") as daemon:
        yield daemon


def worker_of(daemon: Daemon, uuid: str) -> int:
    pid = serving_lock.holder(daemon.runtime / "workers" / uuid)
    assert pid is not None
    return pid


def _served_by_nobody(adoption: Path) -> bool:
    return serving_lock.holder(adoption) is None


@needs_root
def test_a_key_is_in_no_process_but_worker_and_keeper(daemon: Daemon) -> None:
    """Of a daemon that came while it slept, and has had it upgraded and woken since."""
    info = daemon.control("create", "web1")
    with Qemu(Path(info["control_socket"])) as qemu:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR.hex())[6:10] == bytes(4)
        asleep(daemon)
        daemon.restart()
        asleep(daemon)
        daemon.control("upgrade", "--all")
        keeper = keeper_of(daemon)
        assert keeper is not None
        key = {"DEK": dek_of(daemon.instance("web1"))}
        others = [daemon.process(), *children(daemon.process()), *children(keeper)]
        assert len(tpm(qemu.data, GET_RANDOM_8.hex())) == 20
        worker = worker_of(daemon, info["uuid"])
        assert any(found(region, key) for region in memory(worker))  # which proves the search
        for pid in set(others) - {worker, keeper}:
            seen = [found(region, key) for region in memory(pid)]
            assert not any(seen), Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_machine_whose_worker_and_daemon_were_killed_is_reset(daemon: Daemon) -> None:
    """The keeper has its connections, and the next daemon's worker inherits them."""
    info = daemon.control("create", "web1")
    with Qemu(Path(info["control_socket"])) as qemu:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR.hex())[6:10] == bytes(4)
        asleep(daemon)
        for _ in range(2):  # with the second answer the worker has left them
            assert len(tpm(qemu.data, GET_RANDOM_8.hex())) == 20
        worker = worker_of(daemon, info["uuid"])
        daemon.end(signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        qemu.data.send(GET_RANDOM_8)
        daemon.start()
        assert qemu.data.recv(4096).hex() == FAILURE
        assert "TPM is off" in daemon.control("info", "web1")["reason"]
        qemu.reset()
        assert tpm(qemu.data, STARTUP_CLEAR.hex())[6:10] == bytes(4)


def test_all_wake_at_once_after_the_package_was_replaced_and_without_a_daemon(root: Path) -> None:
    """What runs has loaded all it needs: of the files, nothing is left that could be."""
    package = root / "package"
    shutil.copytree(Path(vtpmd.__file__).parent, package / "vtpmd")
    daemon = Daemon(root, "idle_timeout: 1", {"PYTHONPATH": str(package)})
    try:
        with ExitStack() as machines:
            made = [daemon.control("create", f"web{number}") for number in range(SLEEPERS)]
            guests = [machines.enter_context(Qemu(Path(info["control_socket"]))) for info in made]
            for guest in guests:
                guest.start()
                assert tpm(guest.data, STARTUP_CLEAR.hex())[6:10] == bytes(4)
            for info in made:
                daemon.until(info["name"], lambda info: info["asleep"])
            daemon.end()
            for path in package.rglob("*.py"):
                path.write_text("raise ImportError('this is another version')")
            shutil.rmtree(package / "vtpmd/tpm")
            for guest in guests:
                guest.data.send(GET_RANDOM_8)
            for guest in guests:
                assert len(guest.data.recv(4096)) == 20
            for info in made:
                adoption = daemon.runtime / "workers" / info["uuid"]
                until(partial(_served_by_nobody, adoption))  # asleep again
            del daemon.environment["PYTHONPATH"]
            daemon.start()
            for info in made:
                assert daemon.control("info", info["name"])["asleep"]
    finally:
        daemon.environment.pop("PYTHONPATH", None)
        daemon.clean_up()
