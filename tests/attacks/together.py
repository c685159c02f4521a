"""All attackers at once, and what another machine and root's vtpmctl notice of them."""

import contextlib
import grp
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.attacks.memory import peak_memory
from tests.attacks.taken import daemon_with_hole
from tests.bench.results import Timing, timing
from tests.faults.machine import INDEX_SIZE, Machine
from tests.peers.vtpmd import Vtpmd, VtpmdInstance
from vtpmd.ipc.events import UNWANTED

ROOT = Path(__file__).parents[2]
CORES = os.sched_getaffinity(0)
GROUP = 65534
"""The sockets' group: "nogroup" of Debian, which the daemon of a test is in."""
MEMBER, STRANGER = 23456, 34567
"""Users that have no rights but those of that group, and none at all."""
ROOTS = (0, 0)
"""Who QEMU runs as is no matter: its guest is the attacker."""

DEADLINE = 60.0
SECRET = b"\x29" * INDEX_SIZE
PAUSE_OF_EXTEND, PAUSE_OF_LIST = 0.002, 0.05
"""Seconds between two questions: neither machine nor administrator wants more."""


@dataclass(frozen=True)
class Measured:
    """How long others had to wait in one run."""

    extend: Timing
    list: Timing


@dataclass(frozen=True)
class Outcome:
    quiet: Measured
    attacked: Measured
    rounds: dict[str, int]
    """How often each attacker has had its try."""
    lines: Counter[str]
    """Events in log and audit during the attack, and how often."""
    octets: int
    """By how much log and audit have grown."""
    memory: int
    """By how many octets the supervisor's peak has grown."""
    lost: list[str]
    """What is not as it should be."""


def quiet_cores() -> set[int]:
    """Those that the attackers are not on, if there is more than one."""
    return CORES - {max(CORES)} or CORES


@contextlib.contextmanager
def on_quiet_cores() -> Iterator[None]:
    """Who measures is one of those that are attacked."""
    os.sched_setaffinity(0, quiet_cores())
    try:
        yield
    finally:
        os.sched_setaffinity(0, CORES)


class Victim:
    """A machine that uses its TPM, and an administrator who looks at the host."""

    def __init__(self, daemon: Vtpmd, instance: VtpmdInstance) -> None:
        self._daemon, self.instance = daemon, instance
        self._processes = daemon.process(), instance.process()
        self._machine = Machine(instance)
        self._machine.define_indices()
        self._machine.write(SECRET)
        self._expected = self._machine.pcr()
        self._extended = 0

    def close(self) -> None:
        self._machine.close()

    def _extend(self) -> None:
        self._extended += 1
        digest = hashlib.sha256(self._extended.to_bytes(8, "big")).digest()
        self._machine.extend(digest)
        self._expected = hashlib.sha256(self._expected + digest).digest()

    def _list(self) -> None:
        """What vtpmctl list asks; the start of its Python is not what is measured."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._daemon.admin))  # with a timeout it would not wait
            connection.settimeout(DEADLINE)
            connection.sendall(b"GET /v1/instances HTTP/1.1\r\nHost: vtpmd\r\n\r\n")
            response = http.client.HTTPResponse(connection)
            response.begin()
            response.read()
        if response.status != 200:
            raise ConnectionError(f"list: status {response.status}")

    def measure(self, seconds: float) -> Measured:
        """Go about one's business for some seconds."""
        extends: list[float] = []
        lists: list[float] = []
        trouble: list[BaseException] = []

        def look() -> None:
            try:
                lists.extend(_repeated(self._list, PAUSE_OF_LIST, seconds))
            except Exception as error:
                trouble.append(error)

        administrator = threading.Thread(target=look)
        administrator.start()
        try:
            extends.extend(_repeated(self._extend, PAUSE_OF_EXTEND, seconds))
        finally:
            administrator.join()
        if trouble:
            raise trouble[0]
        return Measured(timing(extends), timing(lists))

    def lost(self) -> Iterator[str]:
        """What of its state is not as it left it."""
        if self._machine.pcr() != self._expected:
            yield "the machine's PCR is not what it extended"
        if self._machine.read() != SECRET:
            yield "the machine's NV index has another content"
        if (self._daemon.process(), self.instance.process()) != self._processes:
            yield "its worker or the supervisor was replaced"


def _repeated(act: Callable[[], None], pause: float, seconds: float) -> list[float]:
    durations = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        act()
        durations.append(time.perf_counter() - began)
        time.sleep(pause)
    return durations


@contextlib.contextmanager
def attackers(daemon: Vtpmd, victim: VtpmdInstance) -> Iterator[dict[str, int]]:
    """Attack, from one core of this host; afterwards, how many rounds each attacker has made."""
    beside = {max(CORES)}
    taken = {name: daemon.create(name) for name in ("guest", "worker", "idle")}
    for instance in taken.values():
        os.sched_setaffinity(instance.process(), beside)
    controls = {name: str(instance.control) for name, instance in taken.items()}
    commands = {
        "guest": (ROOTS, [controls["guest"]]),
        "worker": (ROOTS, [controls["worker"]]),
        "member": ((MEMBER, GROUP), [controls["idle"], str(victim.control)]),
        "user": ((STRANGER, STRANGER), [str(daemon.admin)]),
        "crowd": (ROOTS, [str(daemon.admin)]),  # in the name of many users
    }
    processes = {}
    rounds: dict[str, int] = {}
    try:
        for name, ((user, group), paths) in commands.items():
            processes[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.attacks.attackers", name, *paths],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                user=user,
                group=group,
                extra_groups=[],
            )
            os.sched_setaffinity(processes[name].pid, beside)
        yield rounds
    finally:
        for process in processes.values():
            process.terminate()
        for name, process in processes.items():
            try:
                said, _ = process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                said, _ = process.communicate()
            rounds[name] = int(said or 0)


_TURNED_AWAY = UNWANTED | {"events-suppressed"}


def attack(directory: Path, quiet_seconds: float, seconds: float) -> Outcome:
    """A quiet run, an attacked one, and what they have left: takes root, and a short path.

    Attackers and their workers have one core of the host, whom they attack the others.
    """
    group = grp.getgrgid(GROUP).gr_name
    daemon = daemon_with_hole(directory, f"sockets: {{group: {group}}}\n")
    try:
        directory.chmod(0o711)
        daemon.runtime.chmod(0o711)
        os.sched_setaffinity(daemon.process(), quiet_cores())
        # Without a data socket: whoever may open one may extend PCRs there.
        info = daemon.control("create", "victim")
        instance = VtpmdInstance(daemon, info)
        os.sched_setaffinity(instance.process(), quiet_cores())
        with contextlib.closing(Victim(daemon, instance)) as victim, on_quiet_cores():
            quiet = victim.measure(quiet_seconds)
            with attackers(daemon, instance) as rounds:
                before, memory = daemon.log_file.stat().st_size, peak_memory(daemon)
                attacked = victim.measure(seconds)
                after, memory = daemon.log_file.stat().st_size, peak_memory(daemon) - memory
            lost = list(victim.lost())
        lines, about = _read(daemon.log_file, before, after)
        lost += [f"the log speaks of the victim: {line}" for line in about[:3]]
        if lines["keeper: keeper-started"] > 1 or lines["keeper: keeper-lost"]:
            lost.append("the keeper of sleeping TPMs has ended")
        # Who is turned away at its sockets is told, by a bounded number of lines.
        told = sum(lines[f"the victim: {kind}"] for kind in _TURNED_AWAY)
        if told > 10 + (quiet_seconds + seconds):
            lost.append(f"{told} lines of the log tell who was turned away at the victim's sockets")
        return Outcome(quiet, attacked, rounds, lines, after - before, memory, lost)
    finally:
        daemon.close()


def _read(log: Path, start: int, end: int) -> tuple[Counter[str], list[str]]:
    """How often there is each event between two positions of the log; what concerns the victim."""
    lines: Counter[str] = Counter()
    about = []
    with log.open("rb") as file:
        file.seek(start)
        while file.tell() < end:
            text = file.readline().decode(errors="replace")
            try:
                line = dict(json.loads(text))
            except ValueError:
                lines["(no line of the log)"] += 1
                continue
            lines[f"{line.get('component')}: {line.get('event')}"] += 1
            if "victim" in (line.get("instance"), line.get("subject")):
                if (kind := line.get("kind")) in _TURNED_AWAY:
                    lines[f"the victim: {kind}"] += 1
                else:
                    about.append(text.strip())
    return lines, about
