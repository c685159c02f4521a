"""A worker that was taken over lies to its supervisor, which believes little and goes on."""

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.memory import peak_memory
from tests.attacks.taken import CHANNEL, daemon_with_hole, taken_over
from tests.faults.bystander import Bystander
from tests.faults.tracing import needs_root
from tests.peers.client import PeerError
from tests.peers.instance import wait_until
from tests.peers.vtpmd import Vtpmd, VtpmdInstance

pytestmark = [
    pytest.mark.served,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls of x86_64"),
]

SOON = 5.0
LOG_OF_A_FLOOD = 256 << 10
"""Octets of log that a second of events may make."""
MEMORY_OF_A_MESSAGE = 32 << 20


@pytest.fixture(scope="module")
def daemon() -> Iterator[Vtpmd]:
    directory = Path(tempfile.mkdtemp(prefix="vtpm."))
    daemon = daemon_with_hole(directory, "idle_timeout: 0\n")
    try:
        yield daemon
    finally:
        if daemon.ended:
            daemon.start()  # its workers have outlived it
        daemon.close()
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def other(daemon: Vtpmd) -> VtpmdInstance:
    return daemon.create("other")


@pytest.fixture(scope="module")
def neighbour(daemon: Vtpmd, other: VtpmdInstance) -> Iterator[Bystander]:
    with Bystander(other) as neighbour:
        # It has descriptors of the daemon, which are counted here.
        wait_until(lambda: "keeper-started" in daemon.log(), "a keeper")
        yield neighbour


@contextlib.contextmanager
def lying(daemon: Vtpmd, name: str) -> Iterator[VtpmdInstance]:
    """An instance whose worker lies."""
    instance = daemon.create(name)
    process = os.pidfd_open(instance.process())
    try:
        yield instance
    finally:
        with contextlib.suppress(ProcessLookupError):  # it was replaced
            signal.pidfd_send_signal(process, signal.SIGKILL)  # what may not listen any more
        os.close(process)
        instance.stop()
        daemon.control("delete", name, "--yes")


@pytest.fixture
def liar(daemon: Vtpmd, neighbour: Bystander) -> Iterator[VtpmdInstance]:
    """Such an instance; supervisor and neighbour are unharmed by it afterwards."""
    supervisor, before = daemon.process(), descriptors(daemon)
    with lying(daemon, "liar") as liar:
        yield liar
        neighbour.check()
        assert not daemon.ended
        assert daemon.process() == supervisor
        assert daemon.control("info", "other")["state"] == "running"
    wait_until(lambda: descriptors(daemon) <= before, "no descriptor too many")
    lines = [line for line in daemon.log().splitlines() if line.startswith("{")]
    assert "defect" not in [json.loads(line)["event"] for line in lines]


def descriptors(daemon: Vtpmd) -> int:
    """How many the supervisor has open; 0 where only root may see that."""
    try:
        return len(os.listdir(f"/proc/{daemon.process()}/fd"))
    except PermissionError:
        return 0


LIES = {
    "octets": "channel.send(b'\\xff' * 100)",
    "nothing": "channel.send(b'')",
    "CBOR that is no message": "channel.send(cbor2.dumps([1, 2, 3]))",
    "another type": "channel.send(cbor2.dumps({'type': 'Opened'}, canonical=True))",
    "a message of the zygote": "channel.send(encode(m.Spawned(1)))",
    "a message of the supervisor": "channel.send(encode(m.Stop('now')))",
    "served twice": "channel.send(encode(m.Ready(1, {})))",
    "failed while it serves": "channel.send(encode(m.Failed('key', 'lost')))",
    "stopped while it serves": "channel.send(encode(m.Stopped(1)))",
    "an answer nobody asked for": "channel.send(encode(m.Pcrs({})))",
    "ten of them": "[channel.send(encode(m.Pcrs({}))) for _ in range(10)]",
    "as much as fits": "channel.send(bytes(65536))",
    "too much": "channel.send(bytes(150000))",
    "depth": "channel.send(b'\\x81' * 60000)",
    "descriptors": "socket.send_fds(channel, [encode(m.Event('defect', ''))], [0] * 3)",
    "many descriptors": "socket.send_fds(channel, [encode(m.Event('defect', ''))], [0] * 250)",
    "descriptors without a message": "socket.send_fds(channel, [b'\\xff'], [0] * 250)",
    "the end": "channel.shutdown(socket.SHUT_RDWR)",
    "half the end": "channel.shutdown(socket.SHUT_WR)",
}


@pytest.mark.parametrize("text", LIES.values(), ids=LIES)
def test_lie(daemon: Vtpmd, liar: VtpmdInstance, text: str) -> None:
    """The supervisor drops the worker, or has no use for the lie; it asks nobody twice."""
    with taken_over(liar) as worker:
        assert worker.run(CHANNEL) == ""
        with contextlib.suppress(PeerError):  # it is ended at once, or goes on
            worker.run(text)
        for _ in range(3):
            assert daemon.ctl("info", "liar").returncode == 0
    wait_until(lambda: daemon.control("info", "liar")["state"] in ("running", "failed"), "a state")


def test_whoever_talks_nonsense_is_replaced(daemon: Vtpmd, liar: VtpmdInstance) -> None:
    """It does not serve on without a supervisor, in an instance that is said to run well."""
    with taken_over(liar) as worker:
        taken = liar.process()
        worker.run(CHANNEL)
        with contextlib.suppress(PeerError):
            worker.run("channel.send(b'nonsense')")
        wait_until(lambda: not os.path.exists(f"/proc/{taken}"), "its end", SOON)
    liar.wait_for(lambda info: info["worker"] and info["worker"]["pid"] != taken, "another")


LIE_ABOUT_STATUS = """
import dataclasses
Channel = sys.modules['vtpmd.ipc.channel'].Channel
honest = Channel.send
def send(self, message, fds=()):
    if type(message).__name__ == 'StatusReply':
        message = dataclasses.replace(message, **changes)
    return honest(self, message, fds)
Channel.send = send
"""
FORGED_LINE = '{"component": "audit", "verb": "delete", "subject": "other"}'
EVIL = f"\x1b]0;owned\x07\x1b[2J\r\n{FORGED_LINE}\n\u202e\x9b31m\x00"
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def find_nothing_forged(text: str) -> None:
    assert not CONTROLS.search(text), CONTROLS.findall(text)
    assert FORGED_LINE not in [line.strip() for line in text.splitlines()]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"storage": EVIL}, id="storage"),
        pytest.param({"sandbox": {"mode": EVIL, EVIL: "on"}}, id="sandbox"),
        pytest.param({"name": EVIL}, id="name"),
    ],
)
def test_text_in_a_report(daemon: Vtpmd, liar: VtpmdInstance, changes: object) -> None:
    """A terminal sees none of it."""
    with taken_over(liar) as worker:
        assert worker.run(f"changes = {changes!r}\n" + LIE_ABOUT_STATUS) == ""
        for arguments in (("info", "liar"), ("list",)):
            done = daemon.ctl(*arguments)
            find_nothing_forged(done.stdout + done.stderr)


def test_text_in_an_event(daemon: Vtpmd, liar: VtpmdInstance) -> None:
    with taken_over(liar) as worker:
        worker.run(CHANNEL)
        assert worker.run(f"channel.send(encode(m.Event('storage-failing', {EVIL!r})))") == ""
        wait_until(lambda: "owned" in daemon.log(), "the event")
        find_nothing_forged(daemon.log())
        find_nothing_forged(daemon.ctl("info", "liar").stdout)


def test_report_of_another(daemon: Vtpmd, liar: VtpmdInstance, other: VtpmdInstance) -> None:
    """What a worker says of who it is concerns nobody: not what is shown, nor who is stopped."""
    process = other.process()
    changes = f"{{'pid': {process}, 'name': 'other', 'uuid': m.UUID({other.directory.name!r})}}"
    with taken_over(liar) as worker:
        worker.run(CHANNEL)
        taken = liar.process()
        assert worker.run(f"changes = {changes}\n" + LIE_ABOUT_STATUS) == ""
        found = daemon.control("info", "liar")
        assert found["name"] == "liar"
        assert found["uuid"] == liar.directory.name
        assert found["worker"] is None or found["worker"]["pid"] == taken
        assert daemon.control("info", "other")["worker"]["pid"] == process
        liar.stop()
    assert other.process() == process
    wait_until(lambda: not os.path.exists(f"/proc/{taken}"), "the end of the liar")


@pytest.mark.parametrize("field", ["since", "commands", "clients", "generation", "pid"])
def test_numbers_in_a_report(daemon: Vtpmd, liar: VtpmdInstance, field: str) -> None:
    with taken_over(liar) as worker:
        assert worker.run(f"changes = {{{field!r}: (1 << 63) - 1}}\n" + LIE_ABOUT_STATUS) == ""
        for arguments in (("info", "liar"), ("list",), ("info", "liar", "--json")):
            done = daemon.ctl(*arguments)
            assert done.returncode == 0, done.stderr
            assert "Traceback" not in done.stderr


FLOOD = """
import time
message = encode(m.Event('defect', 'x' * 7000))
end, sent = time.monotonic() + 1.0, 0
while time.monotonic() < end:
    try:
        channel.send(message, socket.MSG_DONTWAIT)
        sent += 1
    except BlockingIOError:
        time.sleep(0)
    except OSError:
        break
answer = sent
"""


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("served", id="others are served"),
        pytest.param("log", id="the log"),
    ],
)
def test_flood_of_events(daemon: Vtpmd, liar: VtpmdInstance, what: str) -> None:
    size = daemon.log_file.stat().st_size
    with taken_over(liar) as worker:
        worker.run(CHANNEL)
        worker.run(FLOOD)
        assert daemon.ctl("info", "other").returncode == 0
    if what == "log":
        assert daemon.log_file.stat().st_size - size < LOG_OF_A_FLOOD


def bomb(size: int, references: int) -> bytes:
    """CBOR: one string of octets that is shared (tag 28), and references to it (tag 29)."""
    shared = b"\xd8\x1c\x5a" + size.to_bytes(4, "big") + bytes(size)
    return b"\x82" + shared + b"\x9a" + references.to_bytes(4, "big") + b"\xd8\x1d\x00" * references


def nested_bomb(levels: int, width: int) -> bytes:
    """Each list refers to the one before as often as `width`: it is as large as width^levels."""
    items = b""
    for level in range(levels):
        reference = b"\xd8\x1d" + cbor_number(level - 1) if level else b"\x00"
        items += b"\xd8\x1c" + bytes([0x80 | width]) + reference * width
    return b"\x98" + bytes([levels]) + items


def cbor_number(value: int) -> bytes:
    return bytes([value]) if value < 24 else bytes([0x18, value])


@needs_root
def test_bombs(daemon: Vtpmd, neighbour: Bystander) -> None:
    """What would be 200 MB, and then what would be more than there is in the world."""
    before = peak_memory(daemon)
    for number, octets in enumerate((bomb(20_000, 10_000), nested_bomb(100, 16))):
        with lying(daemon, f"bomber{number}") as liar, taken_over(liar) as worker:
            worker.run(CHANNEL)
            worker.put("octets", octets)
            with contextlib.suppress(PeerError):
                worker.run("channel.send(octets)")
        assert daemon.ctl("info", "other").returncode == 0
        assert peak_memory(daemon) - before < MEMORY_OF_A_MESSAGE
    neighbour.check()
