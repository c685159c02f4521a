"""A run on this machine: each measurement in each placement, round after round, then idle TPMs."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bench import results
from tests.bench.encoding import RefusedError
from tests.bench.hosts import Host
from tests.bench.idle import idle
from tests.bench.measure import Measurement
from tests.bench.processes import Placement, pin
from tests.bench.results import PEER, Idle, Rows, Samples
from tests.peers.client import PeerError


def tell(text: str) -> None:
    """To whoever watches, not among the results."""
    print(text, file=sys.stderr, flush=True)


class Bench:
    """Hosts with an instance each, and the CPUs they may use. `failed`: some row is missing."""

    def __init__(self, hosts: dict[str, Host]) -> None:
        self._hosts = hosts
        self._instances = {name: host.create("bench0") for name, host in hosts.items()}
        self._allowed = os.sched_getaffinity(0)
        self.failed = False

    def time(
        self,
        measured: Sequence[Measurement],
        places: Sequence[Placement],
        rounds: int,
        scale: float,
    ) -> dict[str, Rows]:
        """The rows of each placement."""
        found: dict[str, dict[str, list[dict[str, Samples]]]] = {
            place.name: {each.name: [] for each in measured} for place in places
        }
        for number in range(rounds):
            for place in places:
                tell(f"round {number + 1} of {rounds}, {place.name}")
                for each in measured:
                    with self._on(place, each.apart), self._telling(each.name):
                        hosts, instances = self._hosts, self._instances
                        found[place.name][each.name].append(each.round(hosts, instances, scale))
        return {
            place: {
                name: {host: results.row([each[host] for each in taken]) for host in taken[0]}
                for name, taken in rows.items()
                if taken
            }
            for place, rows in found.items()
        }

    def idle(self, count: int, scale: float) -> Idle:
        tell(f"{count} idle TPMs of each")
        try:
            return idle(self._hosts, self._instances, count, scale)
        except PermissionError as error:
            tell(f"no row of idle TPMs: only root can look at them: {error}")
            self.failed = True
            return {}

    @contextmanager
    def _on(self, place: Placement, apart: bool) -> Iterator[None]:
        client, server = ({place.client}, {place.server}) if apart else (place.both, place.both)
        try:
            self._pin(client, server)
            yield
        finally:
            self._pin(self._allowed, self._allowed)

    def _pin(self, client: Set[int], server: Set[int]) -> None:
        os.sched_setaffinity(0, client)
        processes = [each.process() for each in self._instances.values()]
        for process in processes + [p for h in self._hosts.values() for p in h.common_processes()]:
            with suppress(ProcessLookupError, FileNotFoundError):  # it has just ended
                pin(process, server)

    @contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        try:
            yield
        except (RefusedError, PeerError) as reason:
            tell(f"{name}: {reason}")
            self.failed = True


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    found = {
        "CPU": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "kernel": platform.release(),
        "Python": f"{platform.python_version()}, {platform.python_compiler()}",
    }
    if shutil.which(PEER):
        said = subprocess.run([PEER, "--version"], capture_output=True, text=True).stdout
        found[PEER] = said.partition("version ")[2].partition(",")[0]
    return found
