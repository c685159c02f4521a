"""Users without rights who flood the admin socket of a running daemon."""

import contextlib
import grp
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.admin.strangers import STRANGER, connect_as, needs_root
from tests.peers.instance import wait_until
from tests.peers.vtpmd import COMMANDS, Vtpmd, identity
from vtpmd.admin import farewell
from vtpmd.api import names

pytestmark = [needs_root, pytest.mark.served]

GROWTH = 16 * 1024 * 1024

# Each connects until its standard input ends, and prints how often it has been accepted.
ANSWERED = """
import select, socket, sys
GET = b"GET /v1/instances HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
count = 0
print("begun", flush=True)
while not select.select([0], [], [], 0)[0]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(sys.argv[1])
        count += 1
        try:
            sock.sendall(GET * 50)
            while sock.recv(65536):
                pass
        except ConnectionError:
            pass
print(count)
"""
UNREAD = """
import select, socket, sys
kept, count = [], 0
print("begun", flush=True)
while not select.select([0], [], [], 0)[0]:
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    try:
        sock.connect(sys.argv[1])
    except BlockingIOError:
        sock.close()
        select.select([0], [], [], 0.001)
        continue
    count += 1
    kept.append(sock)
    if len(kept) > 500:
        kept.pop(0).close()
print(count)
"""


@pytest.fixture
def audit(short_path: Path) -> Path:
    return short_path / "state" / "audit"


@pytest.fixture
def daemon(short_path: Path, audit: Path) -> Iterator[Vtpmd]:
    """A daemon whose admin socket somebody has opened to everybody, which it never is by itself."""
    daemon = Vtpmd(short_path, more=f"audit:\n  file: {audit}\n")
    daemon.runtime.chmod(0o711)
    daemon.admin.chmod(0o666)
    yield daemon
    daemon.close()


@contextlib.contextmanager
def flooding(daemon: Vtpmd, codes: list[str], counts: dict[int, int]) -> Iterator[None]:
    """A process of another user for each code; `counts` is filled with their connections."""
    processes = {
        STRANGER + index: subprocess.Popen(
            ["/usr/bin/env", "python3", "-c", code, str(daemon.admin)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            user=STRANGER + index,
            group=STRANGER + index,
            extra_groups=[],
            cwd="/",
        )
        for index, code in enumerate(codes)
    }
    try:
        for process in processes.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
        yield
    finally:
        for user, process in processes.items():
            said, _ = process.communicate(timeout=60)
            assert process.returncode == 0
            counts[user] = int(said)


def status(daemon: Vtpmd, field: str) -> int:
    """A field of the supervisor's /proc/PID/status, in octets."""
    text = Path(f"/proc/{daemon.process()}/status").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def descriptors(daemon: Vtpmd) -> int:
    return len(os.listdir(f"/proc/{daemon.process()}/fd"))


def lines(audit: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in audit.read_text().splitlines()]


def test_administrators_are_served_amid_a_flood_and_each_refusal_is_counted(
    daemon: Vtpmd, audit: Path
) -> None:
    assert daemon.request("GET", "/instances")[0] == 200
    before, memory, log = descriptors(daemon), status(daemon, "VmHWM"), daemon.log()
    counts: dict[int, int] = {}
    with flooding(daemon, [ANSWERED, ANSWERED, UNREAD, UNREAD], counts):
        for _ in range(25):
            assert daemon.ctl("list").returncode == 0
    assert min(counts.values()) > 0
    assert sum(counts.values()) > 100
    wait_until(lambda: descriptors(daemon) <= before, "every descriptor closed")
    assert status(daemon, "VmHWM") - memory < GROWTH
    told = daemon.log().removeprefix(log).splitlines()
    assert [line for line in told if '"event": "unfit"' not in line] == []
    daemon.end()
    refusals = [line for line in lines(audit) if line["event"].startswith("connection")]
    counted = dict.fromkeys(counts, 0)
    for line in refusals:
        assert line["outcome"] == "forbidden"
        counted[line["uid"]] += line.get("count", 1)
    assert counted == counts
    assert len(refusals) <= 4 * len(counts)  # one at once, and one a minute


def test_bodies_of_many_users_take_no_memory(daemon: Vtpmd, audit: Path) -> None:
    memory, before = status(daemon, "VmHWM"), descriptors(daemon)
    head = b"POST /v1/instances HTTP/1.1\r\nHost: a\r\nContent-Length: 262144\r\n\r\n"
    with contextlib.ExitStack() as stack:
        strangers = []
        for user in range(60):
            for _ in range(32):
                sock = stack.enter_context(connect_as(daemon.admin, STRANGER + user))
                sock.settimeout(60)
                strangers.append(sock)
        for sock in strangers:
            with contextlib.suppress(ConnectionError):
                sock.sendall(head + bytes(250_000))
        assert daemon.request("GET", "/instances")[0] == 200
        assert descriptors(daemon) <= before + farewell.LINGERING + 1
        for sock in strangers:
            assert sock.recv(100).startswith(b"HTTP/1.1 403 ")
    assert status(daemon, "VmHWM") - memory < GROWTH
    refusals = [line for line in lines(audit) if line["event"].startswith("connection")]
    assert len(refusals) <= 2 * 64 + 1
    daemon.end()
    refusals = [line for line in lines(audit) if line["event"].startswith("connection")]
    assert sum(line.get("count", 1) for line in refusals) == 60 * 32


@pytest.mark.parametrize("mode", [0o600, 0o666], ids=["by the kernel", "by the daemon"])
@pytest.mark.parametrize("verb", ["list", "restore"])
def test_vtpmctl_tells_a_stranger_why(
    daemon: Vtpmd, short_path: Path, verb: str, mode: int
) -> None:
    """It reads the answer also where its request breaks off: a bundle is not read to its end."""
    daemon.admin.chmod(mode)
    if identity() is None:
        pytest.skip("others may not read the interpreter")
    bundle = short_path / "bundle"
    bundle.write_bytes(bytes(names.MAX_BUNDLE))
    bundle.chmod(0o644)
    done = subprocess.run(
        [COMMANDS / "vtpmctl", "--socket", daemon.admin, verb, *([bundle] * (verb == "restore"))],
        capture_output=True,
        text=True,
        user=STRANGER,
        group=STRANGER,
        extra_groups=[],
        cwd="/",
        timeout=60,
    )
    assert done.returncode == 4
    assert f"User {STRANGER} may not use the admin socket" in done.stderr
    assert not done.stdout


def test_a_member_of_the_admin_group_may(short_path: Path) -> None:
    group = next(each for each in grp.getgrall() if each.gr_gid not in (0, STRANGER))
    daemon = Vtpmd(short_path, more=f"admin:\n  group: {group.gr_name}\n")
    try:
        daemon.runtime.chmod(0o711)
        with connect_as(daemon.admin, STRANGER, group.gr_gid) as sock:
            sock.settimeout(60)
            sock.sendall(b"GET /v1/instances HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        with pytest.raises(PermissionError):
            connect_as(daemon.admin, STRANGER)
    finally:
        daemon.close()


def test_nobody_else_reaches_the_daemon(short_path: Path, audit: Path) -> None:
    """A flood of strangers costs it nothing: the kernel keeps them away."""
    daemon = Vtpmd(short_path, more=f"audit:\n  file: {audit}\n")
    try:
        daemon.runtime.chmod(0o711)
        for _ in range(100):
            with pytest.raises(PermissionError):
                connect_as(daemon.admin, STRANGER)
        assert daemon.request("GET", "/instances")[0] == 200
        assert "connection" not in audit.read_text()
    finally:
        daemon.close()
