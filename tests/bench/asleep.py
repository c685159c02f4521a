"""Many TPMs of machines that stay connected and do nothing: `python -m tests.bench.asleep`.

What each costs the host while it sleeps, how long the first command waits that wakes it, what
happens when all wake at once, how long the daemon takes to come back, and for how long nobody
serves when the keeper or a worker is replaced.

`--state DIRECTORY` keeps the instances for another run, which makes none. Swtpm's row is the
private memory of a process that serves nobody just now.
"""

import argparse
import contextlib
import os
import re
import select
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench.idle import allow_descriptors
from tests.bench.processes import memory_of
from tests.bench.run import tell
from tests.bench.target import Target
from tests.peers.client import PeerError
from tests.peers.swtpm import SwtpmInstance
from tests.peers.vtpmd import Vtpmd, VtpmdInstance
from vtpmd.linux.record_locks import lock_holder

GET_RANDOM = bytes.fromhex("80010000000c0000017b0010")
_AT_ONCE = 4  # requests
_DEADLINE = 120.0
_WAKES = 200  # one after the other
_UPGRADES = 50


def main() -> int:
    given = _arguments()
    directory = Path(tempfile.mkdtemp(prefix="vtpm-asleep."))
    directory.chmod(0o711)
    allow_descriptors(2 * given.instances)
    try:
        for row, value in _measured(directory, given.state, given.instances, given.idle):
            print(f"{row:<52}{value}", flush=True)
        if shutil.which("swtpm"):
            print(f"{'swtpm, private memory of one that is idle, kB':<52}{_swtpm(directory):.0f}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.asleep", description=__doc__)
    parser.add_argument("--instances", type=int, default=100, help="[%(default)s]")
    parser.add_argument("--idle", type=float, default=5.0, help="idle_timeout [%(default)s]")
    parser.add_argument("--state", type=Path, metavar="DIRECTORY")
    return parser.parse_args()


def _measured(
    directory: Path, state: Path | None, count: int, idle: float
) -> Iterator[tuple[str, str]]:
    daemon = _Daemon(directory, state, idle)
    try:
        began = time.monotonic()
        targets = daemon.connected(range(1))
        daemon.sleep(1)
        before = daemon.memory()
        targets += daemon.connected(range(1, count))
        tell(f"{count} are served and connected after {time.monotonic() - began:.0f} s")
        daemon.sleep(count)
        tell(f"{count} are asleep after {time.monotonic() - began:.0f} s")
        for part, kib in daemon.memory().items():
            yield f"{part}, kB for each", f"{(kib - before[part]) / max(1, count - 1):.1f}"
        yield from _restarts(daemon)
        yield "upgrade --all of those that sleep, s", f"{daemon.replace_keeper():.2f}"
        yield from _wakes(daemon, targets, count)
        yield from _all_at_once(targets)
        pauses = daemon.upgrade(min(count, _UPGRADES))
        yield "pause of an upgrade, ms, p50 and p99", f"{_middle(pauses)} {_most(pauses)}"
    finally:
        daemon.kill()


def _restarts(daemon: "_Daemon") -> Iterator[tuple[str, str]]:
    daemon.process.end()
    began = time.monotonic()
    daemon.process.start()
    yield "daemon restarted until it is ready, s", f"{time.monotonic() - began:.2f}"
    daemon.process.request("GET", "/instances")
    yield "daemon restarted until it has listed all, s", f"{time.monotonic() - began:.2f}"


def _wakes(daemon: "_Daemon", targets: Sequence[Target], count: int) -> Iterator[tuple[str, str]]:
    daemon.sleep(count)
    times = [target.timed(GET_RANDOM)[0] * 1e3 for target in targets[:_WAKES]]
    yield "wake, ms, p50 and p99", f"{_middle(times)} {_most(times)}"
    daemon.sleep(count)


def _all_at_once(targets: Sequence[Target]) -> Iterator[tuple[str, str]]:
    began = time.monotonic()
    waiting = {target.data.fileno(): target.data for target in targets}
    poller = select.poll()
    for fd, data in waiting.items():
        data.send(GET_RANDOM)
        poller.register(fd, select.POLLIN)
    times = list[float]()
    while waiting:
        for fd, _ in poller.poll(_DEADLINE * 1e3) or _lost(len(waiting)):
            waiting.pop(fd).receive()
            poller.unregister(fd)
            times.append((time.monotonic() - began) * 1e3)
    yield "all woken at once, ms, p50 and last", f"{_middle(times)} {max(times):.1f}"


def _lost(count: int) -> Sequence[tuple[int, int]]:
    raise PeerError(f"{count} did not answer within {_DEADLINE:.0f} s")


class _Daemon:
    def __init__(self, directory: Path, state: Path | None, idle: float) -> None:
        if state is not None:
            state.mkdir(exist_ok=True)
        self.process = Vtpmd(directory, more=f"idle_timeout: {idle}\n", state=state)

    def connected(self, numbers: range) -> list[Target]:
        """A machine for each of these, whose TPM is started; new ones where there are none."""
        _, listed = self.process.request("GET", "/instances")
        known = {info["name"] for info in listed["instances"]}

        def one(number: int) -> Target:
            name = f"vm{number}"
            path = f"/instances/{name}/start" if name in known else "/instances"
            content = {} if name in known else {"name": name}
            status, answer = self.process.request("POST", path, content)
            if status >= 300:
                raise PeerError(f"{name}: {status} {answer}")
            target = Target(VtpmdInstance(self.process, answer))
            target.startup()
            return target

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(one, numbers))

    def sleep(self, count: int) -> None:
        """Wait until so many sleep."""
        deadline = time.monotonic() + _DEADLINE
        while True:
            _, listed = self.process.request("GET", "/instances")
            if sum(info["asleep"] for info in listed["instances"]) >= count:
                return
            if time.monotonic() > deadline:
                raise PeerError("they do not fall asleep")
            time.sleep(0.5)

    def memory(self) -> dict[str, float]:
        """KiB by where they are. Files in memory are counted as often as pages are in them."""
        keeper = self._keeper()
        mine = {"supervisor": self.process.process(), "keeper": keeper}
        found = {name: memory_of(pid).private * 1024 for name, pid in mine.items()}
        found["sealed state"] = sum(_files_of(keeper)) / 1024
        found["all together"] = sum(found.values())
        return found

    def _keeper(self) -> int:
        with (self.process.runtime / "workers/keeper.lock").open() as lock:
            if (pid := lock_holder(lock.fileno())) is None:
                raise PeerError("there is no keeper")
            return pid

    def replace_keeper(self) -> float:
        """Seconds until another one has all that sleeps; it is started first."""
        keeper = self._keeper()
        began = time.monotonic()
        status, answer = self.process.request("POST", "/upgrade")
        if status >= 300 or self._keeper() == keeper:
            raise PeerError(f"upgrade: {status} {answer}")
        return time.monotonic() - began

    def upgrade(self, count: int) -> list[float]:
        """Milliseconds for which nobody served, of so many that are awake."""
        pauses = list[float]()
        for number in range(count):
            status, answer = self.process.request("POST", f"/instances/vm{number}/upgrade")
            if status >= 300:
                raise PeerError(f"vm{number}: {status} {answer}")
        for line in self.process.log().splitlines():
            if '"succeeded"' in line and (found := re.search(r'"pause_ms": ?([\d.]+)', line)):
                pauses.append(float(found[1]))
        return pauses[-count:]

    def kill(self) -> None:
        """Leave no process behind; to stop each in order would wake them all."""
        self.process.end(signal.SIGKILL)
        for path in (self.process.runtime / "workers").glob("*.lock"):
            with path.open() as file:
                if (pid := lock_holder(file.fileno())) is not None:
                    os.kill(pid, signal.SIGKILL)


def _files_of(pid: int) -> Iterator[int]:
    """Octets of each file in memory that a process has open."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(path).startswith("/memfd:"):
                yield os.stat(path).st_blocks * 512


def _swtpm(directory: Path) -> float:
    with contextlib.closing(SwtpmInstance(directory, "swtpm", data_socket=False)) as instance:
        target: Any = Target(instance)
        target.startup()
        return memory_of(instance.process()).private * 1024


def _middle(numbers: Sequence[float]) -> str:
    return f"{statistics.median(numbers):.1f}"


def _most(numbers: Sequence[float]) -> str:
    """The 99th percentile."""
    return f"{sorted(numbers)[min(len(numbers) - 1, len(numbers) * 99 // 100)]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
