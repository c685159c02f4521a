"""What a worker that was taken over finds when it looks for a way out of its sandbox."""

import ast
import contextlib
import os
import platform
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.taken import TakenOver, daemon_with_hole, taken_over
from tests.attacks.ways_out import OTHERS, OWN, REFUSED
from tests.faults.bystander import Bystander
from tests.faults.machine import INDEX_SIZE, Machine
from tests.peers.client import PeerError
from tests.peers.instance import wait_until
from tests.peers.vtpmd import Vtpmd, VtpmdInstance

pytestmark = [
    pytest.mark.served,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls of x86_64"),
]

SPACE = 64 << 20
"""Octets on disk: more than any state that the engine can make, whatever a worker does."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Vtpmd]:
    directory = Path(tempfile.mkdtemp(prefix="vtpm."))
    daemon = daemon_with_hole(directory)
    yield daemon
    daemon.close()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def other(daemon: Vtpmd) -> VtpmdInstance:
    """The instance of another machine."""
    other = daemon.create("other")
    with Machine(other) as machine:
        machine.define_indices()
        machine.write(b"\x61" * INDEX_SIZE)
    return other


@pytest.fixture(scope="module")
def neighbour(other: VtpmdInstance) -> Iterator[Bystander]:
    """That machine uses its TPM all the time."""
    with Bystander(other) as neighbour:
        yield neighbour


@pytest.fixture(autouse=True)
def unharmed(neighbour: Bystander) -> Iterator[None]:
    yield
    neighbour.check()


@pytest.fixture(scope="module")
def instance(daemon: Vtpmd) -> VtpmdInstance:
    return daemon.create("taken")


@pytest.fixture(scope="module")
def worker(daemon: Vtpmd, instance: VtpmdInstance) -> Iterator[TakenOver]:
    with taken_over(instance) as worker:
        assert worker.run(f"supervisor = {daemon.process()}") == ""
        yield worker


@pytest.mark.parametrize(
    ("text", "error"), [pytest.param(text, error, id=name) for (name, text), error in REFUSED]
)
def test_refused(worker: TakenOver, text: str, error: str) -> None:
    assert worker.run(text) == error


@pytest.fixture(scope="module")
def paths(worker: TakenOver, instance: VtpmdInstance, other: VtpmdInstance) -> None:
    text = f"own, theirs = {str(instance.directory)!r}, {str(other.directory)!r}"
    assert worker.run(text) == ""


@pytest.mark.usefixtures("paths")
@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_files_of_others_are_out_of_reach(worker: TakenOver, text: str) -> None:
    assert worker.run(text) in ("EACCES", "EPERM")


@pytest.mark.usefixtures("paths")
def test_nothing_in_its_own_directory_can_be_named(
    worker: TakenOver, instance: VtpmdInstance
) -> None:
    before = {path.name: path.read_bytes() for path in instance.directory.glob("*.json")}
    try:
        for name, text in OWN.items():
            assert worker.run(text) in ("EACCES", "EPERM"), name
    finally:  # whatever a wall that is not there yet has let through
        for name, content in before.items():
            (instance.directory / name).write_bytes(content)


DESCRIPTORS = """
found = []
for fd in range(1024):
    try:
        status = os.fstat(fd)
    except OSError:
        continue
    found.append((fd, status.st_mode, status.st_dev, status.st_ino, status.st_rdev))
answer = found
"""
NULL = os.makedev(1, 3)


def descriptors(worker: TakenOver) -> list[tuple[int, int, int, int, int]]:
    """Number, mode, device, inode and device number of all that is open."""
    found: list[tuple[int, int, int, int, int]] = ast.literal_eval(worker.run(DESCRIPTORS))
    return found


def test_files_that_are_open(worker: TakenOver, instance: VtpmdInstance) -> None:
    """Those of its own state, the lock that it serves, and the null device; no directory."""
    lock = instance.adoption.with_name(f"{instance.adoption.name}.lock")
    own = [path for path in instance.directory.rglob("*") if path.name != "meta.json"]
    files = {(status.st_dev, status.st_ino) for status in map(os.stat, [*own, lock])}
    for fd, mode, device, inode, number in descriptors(worker):
        if stat.S_ISREG(mode):
            assert (device, inode) in files, fd
        elif stat.S_ISCHR(mode):
            assert number == NULL, fd
        else:
            # A directory is what there must not be; the rest is sockets, pipes and what is polled.
            assert stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode) or not stat.S_IFMT(mode), fd


NAMES = """
found = []
for fd in range(1024):
    try:
        with socket.socket(fileno=os.dup(fd)) as s:
            found.append((int(s.type), os.path.dirname(s.getsockname())))
    except OSError:
        continue
answer = found
"""


def test_sockets_that_are_open(worker: TakenOver, instance: VtpmdInstance) -> None:
    """Three listeners, the connection and the descriptor of QEMU, and the supervisor's channel."""
    run, workers = str(instance.control.parent), str(instance.adoption.parent)
    stream, messages = int(socket.SOCK_STREAM), int(socket.SOCK_SEQPACKET)
    expected = [(stream, run)] * 3 + [(stream, ""), (messages, ""), (messages, workers)]
    assert sorted(ast.literal_eval(worker.run(NAMES))) == sorted(expected)


def test_no_descriptor_of_the_log(worker: TakenOver, daemon: Vtpmd) -> None:
    log = os.stat(daemon.log_file)
    for fd, _, device, inode, _ in descriptors(worker):
        assert (device, inode) != (log.st_dev, log.st_ino), fd


FORGERY = '{"component": "audit", "verb": "delete", "subject": "other", "uid": 0}\n'


def test_log_cannot_be_forged(worker: TakenOver, daemon: Vtpmd) -> None:
    for fd in (0, 1, 2):
        worker.run(f"os.write({fd}, {FORGERY.encode()!r})")
    daemon.control("info", "other")  # something of the supervisor's own behind it
    assert FORGERY not in daemon.log()


def test_log_cannot_be_erased(worker: TakenOver, daemon: Vtpmd) -> None:
    before = daemon.log()
    for fd, mode, *_ in descriptors(worker):
        if stat.S_ISREG(mode) and fd < 3:
            worker.run(f"os.ftruncate({fd}, 0)")
    assert daemon.log().startswith(before)


def test_memory_of_executable_pages_is_refused_after_all(worker: TakenOver) -> None:
    """What stays executable is what was loaded before: no page changes its kind."""
    text = (
        "m = mmap.mmap(-1, 4096, prot=3)\n"
        "syscall(25, ctypes.addressof(ctypes.c_char.from_buffer(m)), 4096, 8192, 1)\n"
        "syscall(10, ctypes.addressof(ctypes.c_char.from_buffer(m)), 4096, 4)"
    )
    assert worker.run(text) == "EPERM"


@pytest.mark.parametrize(
    "kind",
    [
        "MAP_PRIVATE",
        "MAP_SHARED",
    ],
)
def test_memory_is_bounded(worker: TakenOver, kind: str) -> None:
    """4 GiB, of which not a page is touched: the limit is what refuses them."""
    text = f"mmap.mmap(-1, 4 << 30, mmap.{kind} | mmap.MAP_ANONYMOUS).close()"
    assert worker.run(text) == "ENOMEM"


FILL = """
written = 0
for fd in range(1024):
    for step in range(1 << 10):
        try:
            written += os.pwrite(fd, bytes(1 << 18), step << 18)
        except OSError:
            break
def fill(directory):
    total = 0
    for number in range(64):
        fd = os.open(f'fill{number}', os.O_CREAT | os.O_WRONLY, dir_fd=directory)
        try:
            for step in range(64):
                total += os.write(fd, bytes(1 << 18))
        except OSError:
            pass
        finally:
            os.close(fd)
    return total
for fd in range(1024):
    try:
        written += fill(fd)
    except OSError:
        continue
answer = written
"""


@pytest.fixture
def spendthrift(daemon: Vtpmd) -> Iterator[VtpmdInstance]:
    """An instance whose state may be ruined."""
    instance = daemon.create("spendthrift")
    yield instance
    instance.stop()
    daemon.control("delete", "spendthrift", "--yes")


def test_space_is_bounded(daemon: Vtpmd, spendthrift: VtpmdInstance) -> None:
    def used() -> int:
        return sum(path.lstat().st_blocks * 512 for path in daemon.directory.rglob("*"))

    before = used()
    with taken_over(spendthrift) as worker:
        assert worker.run(FILL).isdigit()
        assert used() - before < SPACE


def test_call_of_another_architecture_ends_it(daemon: Vtpmd, spendthrift: VtpmdInstance) -> None:
    """int 0x80 calls i386's numbers: the process dies at once, and another takes its place."""
    with taken_over(spendthrift) as worker:
        taken = spendthrift.process()
        with contextlib.suppress(PeerError):  # or the next one answers
            worker.run("call_of_i386()")
        spendthrift.wait_for(
            lambda info: info["worker"] is not None and info["worker"]["pid"] != taken, "another"
        )
        told = f"its worker (process {taken}) ended unexpectedly ({signal.SIGSYS.name})"
        wait_until(lambda: told in daemon.log(), "word of its end")
    assert not os.path.exists(f"/proc/{taken}")
