"""A new daemon and the process it finds where a worker of the old one should be."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from tests.supervisor.harness import DEADLINE, running
from vtpmd.ipc.messages import Event
from vtpmd.supervisor import serving_lock
from vtpmd.supervisor.adoption import adopt
from vtpmd.supervisor.errors import WorkerEndedError

NOBODY = 65534

Pretend = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def adoption(short_path: Path) -> Path:
    return short_path / "worker"


@pytest.fixture
def pretend() -> Iterator[Pretend]:
    """Starts a pretender, which listens when this returns."""
    with ExitStack() as stack:

        def start(path: Path, *options: str) -> "subprocess.Popen[bytes]":
            command = [sys.executable, "-m", "tests.supervisor.pretender", str(path), *options]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n"
            return process

        yield start


def ignore(pid: int, event: Event) -> bool:
    return True


async def test_whoever_holds_the_lock_and_answers_is_adopted(
    pretend: Pretend, adoption: Path
) -> None:
    process = pretend(adoption, "--lock", str(adoption.with_suffix(".lock")))
    events: list[tuple[int, str]] = []

    def note(pid: int, event: Event) -> bool:
        events.append((pid, event.kind))
        return True

    worker = await adopt(adoption, note)
    assert worker.pid == process.pid
    assert worker.strange is None
    assert events == [(process.pid, "client-connected")]
    worker.close()


async def refused(path: Path, reason: str) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(WorkerEndedError, match=reason):
        await adopt(path, ignore)
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_a_process_without_the_lock_is_not_taken_for_the_worker(
    pretend: Pretend, adoption: Path
) -> None:
    process = pretend(adoption)
    with serving_lock.created(adoption):
        await refused(adoption, f"process {process.pid} of user .* does not serve this instance")
    assert process.poll() is None or process.wait() == 0


async def test_a_process_beside_the_one_with_the_lock_is_not_taken_for_it(
    pretend: Pretend, adoption: Path
) -> None:
    lock = str(adoption.with_suffix(".lock"))
    holder = pretend(adoption.with_name("elsewhere"), "--lock", lock)
    assert serving_lock.holder(adoption) == holder.pid
    pretend(adoption)
    await refused(adoption, "does not serve this instance")


async def test_without_a_lock_there_is_no_worker(pretend: Pretend, adoption: Path) -> None:
    pretend(adoption)
    await refused(adoption, "FileNotFoundError")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_a_process_of_another_user_is_not_taken_for_the_worker(
    pretend: Pretend, adoption: Path
) -> None:
    lock = str(adoption.with_suffix(".lock"))
    process = pretend(adoption, "--lock", lock, "--user", str(NOBODY))
    await refused(adoption, f"process {process.pid} of user {NOBODY} .* not of our own user")


async def test_a_socket_that_nobody_answers_on_has_no_worker(
    adoption: Path, autojump_clock: trio.abc.Clock
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(adoption))
        listener.listen()
        await refused(adoption, "TooSlowError")
    await refused(adoption, "ConnectionRefusedError")


def test_the_lock_stays_while_it_is_held_and_is_free_when_its_holder_has_ended(
    pretend: Pretend, adoption: Path
) -> None:
    process = pretend(adoption, "--lock", str(adoption.with_suffix(".lock")))
    serving_lock.clear(adoption)
    assert serving_lock.holder(adoption) == process.pid
    process.kill()
    process.wait()
    assert serving_lock.holder(adoption) is None
    serving_lock.clear(adoption)
    serving_lock.clear(adoption)
    assert not adoption.with_suffix(".lock").exists()
    with serving_lock.created(adoption) as fd:
        assert serving_lock.holder(adoption) is None
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(fd, b"x")


def test_a_daemon_neither_adopts_nor_ends_a_process_that_is_no_worker(
    pretend: Pretend, root: Path
) -> None:
    """Something else listens where a worker has been killed while no daemon was there."""
    with running(root) as daemon:
        info = daemon.control("create", "web1")
        worker = os.pidfd_open(info["worker"]["pid"])
        daemon.end()
        signal.pidfd_send_signal(worker, signal.SIGKILL)
        assert select.select([worker], [], [], DEADLINE)[0]
        os.close(worker)
        adoption = daemon.runtime / "workers" / info["uuid"]
        adoption.unlink()
        stranger = pretend(adoption)
        daemon.start()
        found = daemon.until("web1", lambda info: info if info["state"] == "running" else None)
        assert found["worker"]["pid"] != stranger.pid
        assert f"process {stranger.pid} of user" in daemon.log()
        daemon.control("stop", "web1")
        assert stranger.wait(DEADLINE) == 0  # it has ended by itself, not by a signal
