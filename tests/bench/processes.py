"""Processes of this machine: on which CPUs they run, how much time and memory they take."""

import os
import re
import time
from collections.abc import Iterable, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CPUCLOCK_SCHED = 2


def pin(process: int, cpus: Set[int]) -> None:
    """Let a process, with all its threads, run on these CPUs only. Raises OSError."""
    for task in os.listdir(f"/proc/{process}/task"):
        os.sched_setaffinity(int(task), cpus)


def family(process: int) -> list[int]:
    """The process, and whatever it or its offspring has forked and that has not ended."""
    found = [process]
    for one in found:
        with suppress(FileNotFoundError):  # it has just ended
            for path in Path(f"/proc/{one}/task").glob("*/children"):
                found += map(int, path.read_text().split())
    return found


def command_line(process: int) -> bytes:
    """Its words, each with a NUL behind it; empty for one that has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def cpu_seconds(process: int) -> float:
    """User and system time so far of a process' threads together. Raises OSError."""
    # The process' clock as clock_getcpuclockid(3) makes it; it is exact, /proc counts in ticks.
    return time.clock_gettime((~process << 3) | _CPUCLOCK_SCHED)


@dataclass(frozen=True)
class Memory:
    """MiB: proportional set size, what nobody shares, and all that is resident."""

    pss: float
    private: float
    resident: float


def memory_of(process: int) -> Memory:
    """Raises PermissionError for another's process, or one's own that is not dumpable."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    kib = {key: int(value) for key, value in re.findall(r"(\w+): +(\d+) kB", rollup)}
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    return Memory(kib["Pss"] / 1024, private / 1024, kib["Rss"] / 1024)


@dataclass(frozen=True)
class Placement:
    """Where who asks and who is asked run."""

    name: str
    client: int
    server: int

    @property
    def both(self) -> Set[int]:
        """For what is not one process here and one there."""
        return {self.client, self.server}


def _siblings(cpu: int) -> Set[int]:
    """Threads of the same core; the CPU alone if that is not known."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        ranges = [part.split("-") for part in path.read_text().strip().split(",")]
    except OSError:
        return {cpu}
    return {each for bounds in ranges for each in range(int(bounds[0]), int(bounds[-1]) + 1)}


def placements(allowed: Iterable[int]) -> list[Placement]:
    """On one CPU, and on two of different cores if these CPUs have two."""
    client, *others = sorted(allowed, reverse=True)  # the first one has the most interrupts
    found = [Placement("one CPU", client, client)]
    if others:
        apart = [cpu for cpu in others if cpu not in _siblings(client)]
        found.append(Placement("two CPUs", client, (apart or others)[0]))
    return found
