"""A disk that is full stops what must be stored, and nothing else, until there is space again."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.bystander import Bystander
from tests.faults.limits import limit, soft_limit
from tests.faults.machine import (
    INCREMENT,
    INDEX_SIZE,
    RC_NV_UNAVAILABLE,
    WRONG_PASSWORD,
    Machine,
    define_command,
    write_command,
)
from tests.faults.tracing import needs_root
from tests.peers.vtpmd import Vtpmd, VtpmdInstance
from vtpmd.storage.state_file import PLACE_SIZE

DISK = 4 << 20
LIMIT = PLACE_SIZE + (32 << 10)  # what the file has when it is made
PATIENCE = 20
FILLERS, FILLER_SIZE = 0x01510000, 2048


@pytest.fixture(scope="module")
def small_host() -> Iterator[Vtpmd]:
    """A daemon whose state is on a file system of its own."""
    directory = Path(tempfile.mkdtemp(prefix="vtpm."))
    state = directory / "disk"
    state.mkdir(mode=0o700)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "none", str(state)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("no file system may be mounted here")
        stack.callback(subprocess.run, ["umount", str(state)], check=True)
        daemon = Vtpmd(directory, state=state)
        stack.callback(daemon.close)
        yield daemon


@contextlib.contextmanager
def full(disk: Path) -> Iterator[Callable[[], None]]:
    """While entered, the disk has no octet left; call the result when something was freed."""
    ballast = disk / "ballast"

    def fill() -> None:
        with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    fill()
    try:
        yield fill
    finally:
        ballast.unlink()


def exhaust(machine: Machine) -> None:
    """Let the TPM's state grow until it says that it cannot."""
    for index in range(FILLERS, FILLERS + PATIENCE):
        for message in (define_command(index, FILLER_SIZE), write_command(bytes(1024), index)):
            code = machine.code(message)
            if code:
                assert code == RC_NV_UNAVAILABLE
                return
    raise AssertionError("the disk is not full")


def check_refusals(machine: Machine, instance: VtpmdInstance) -> None:
    """What must be stored is refused before anything changes; everything else works."""
    nvram = instance.nvram.read_bytes()
    content, pcr = machine.read(), machine.pcr()
    count, failures = machine.count(), machine.lockout_counter()
    assert machine.code(write_command(b"\x99" * INDEX_SIZE)) == RC_NV_UNAVAILABLE
    assert machine.code(INCREMENT) == RC_NV_UNAVAILABLE
    assert machine.code(WRONG_PASSWORD) == RC_NV_UNAVAILABLE  # nobody guesses for free
    assert machine.read() == content
    assert (machine.count(), machine.lockout_counter()) == (count, failures)
    machine.extend(b"\x11" * 32)
    assert machine.pcr() != pcr
    assert machine.storage_key()
    assert instance.nvram.read_bytes() == nvram


@needs_root
def test_full_file_system(small_host: Vtpmd) -> None:
    instance = small_host.create("full")
    with Machine(instance) as machine:
        machine.define_indices()
        with full(small_host.state):
            for value in range(PATIENCE):  # what does not grow keeps the room that it has
                machine.write(value.to_bytes(INDEX_SIZE))
            exhaust(machine)
            check_refusals(machine, instance)
            info = instance.info()
            assert info["state"] == "running"
            assert "No space left on device" in info["worker"]["storage"]
            assert "No space left on device" in small_host.log()
        # No restart, no reset: the next command finds the space.
        machine.write(b"\x77" * INDEX_SIZE)
        assert instance.info()["worker"]["storage"] == "available"
        expected = machine.read(), machine.count()
    instance.kill()
    with Machine(instance) as machine:
        assert (machine.read(), machine.count()) == expected


@needs_root
def test_operations_on_a_full_file_system(small_host: Vtpmd) -> None:
    """The daemon refuses what it cannot store, and says why; nothing half made stays behind."""
    instance = small_host.create("kept")
    instances = instance.directory.parent
    before = sorted(instances.iterdir())
    with Machine(instance) as machine:
        machine.define_indices()
        with full(small_host.state) as fill:
            exhaust(machine)
            fill()
            status, problem = small_host.request("POST", "/instances", {"name": "impossible"})
            assert (status, problem["code"]) == (503, "unavailable")
            assert "No space left on device" in problem["detail"]
            assert sorted(instances.iterdir()) == before
            assert small_host.request("GET", "/instances/impossible")[0] == 404
            # A worker that must start now serves what there is.
            expected = machine.read(), machine.count()
            instance.kill()
            fill()
            stop = f"/instances/{instance.name}/stop"
            status, problem = small_host.request("POST", stop, {"remember": True})
            assert (status, problem["code"]) == (503, "unavailable")
            assert instance.info()["state"] == "running"
            assert small_host.request("POST", stop, {"remember": False})[0] == 200
            assert instance.start()[0] == 200
    with Machine(instance) as machine:
        assert (machine.read(), machine.count()) == expected
    assert small_host.create("impossible").info()["state"] == "running"


def test_file_size_limit(host: Vtpmd) -> None:
    """The limit of one worker stands in for a disk: other workers have theirs."""
    instance = host.create("limited")
    pid = instance.process()
    with Machine(instance) as machine, Bystander(host.create("unlimited")):
        machine.define_indices()
        most = soft_limit(pid, "Max file size")
        limit(pid, "fsize", str(LIMIT))
        exhaust(machine)
        check_refusals(machine, instance)
        assert "File too large" in instance.info()["worker"]["storage"]
        assert os.stat(instance.nvram).st_size <= LIMIT
        limit(pid, "fsize", most)
        machine.write(b"\x77" * INDEX_SIZE)
        assert machine.read() == b"\x77" * INDEX_SIZE
    assert instance.process() == pid
