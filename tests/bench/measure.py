"""The measurements: latency of commands, a recorded boot, start, memory."""

import re
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.hosts import Host
from tests.bench.target import Target
from tests.bench.workloads import Workload
from tests.peers.client import STARTUP_CLEAR
from tests.peers.instance import Instance

GET_RANDOM = bytes.fromhex("80010000000c0000017b0010")


@dataclass(frozen=True)
class Timing:
    """Milliseconds."""

    median: float
    p99: float
    samples: int


def timing(seconds: list[float]) -> Timing:
    ordered = sorted(seconds)
    last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return Timing(statistics.median(ordered) * 1e3, last * 1e3, len(ordered))


def latency(
    hosts: Mapping[str, Host], instances: Mapping[str, Instance], workload: Workload, scale: float
) -> dict[str, Timing]:
    """One workload on all hosts, a step here and a step there, after a reset of each TPM."""
    targets = {name: Target(instances[name]) for name in hosts}
    try:
        steps = {}
        for name, target in targets.items():
            target.startup()
            steps[name] = workload.prepare(target)
            steps[name]()  # what is remembered or loaded once is not what is measured
        samples: dict[str, list[float]] = {name: [] for name in hosts}
        for _ in range(max(3, round(workload.steps * scale))):
            for name, step in steps.items():
                samples[name].append(step())
        return {name: timing(seconds) for name, seconds in samples.items()}
    finally:
        for target in targets.values():
            target.close()


def recorded_commands(log: Path) -> list[bytes]:
    """The commands in a log of swtpm's (level 20): hex dumps behind "SWTPM_IO_Read"."""
    dumps = re.findall(r"SWTPM_IO_Read: length \d+\n((?: (?:[0-9A-F]{2} )+\n?)+)", log.read_text())
    return [bytes.fromhex(dump) for dump in dumps]


def recorded_boot(
    instances: Mapping[str, Instance], commands: list[bytes], boots: int
) -> dict[str, Timing]:
    """Seconds that all commands of a recorded boot take together, boot by boot."""
    targets = {name: Target(instance) for name, instance in instances.items()}
    samples: dict[str, list[float]] = {name: [] for name in targets}
    for _ in range(boots):
        for name, target in targets.items():
            target.reset()
            samples[name].append(sum(target.timed(data)[0] for data in commands))
    for target in targets.values():
        target.close()
    return {name: timing(seconds) for name, seconds in samples.items()}


def starts(
    hosts: Mapping[str, Host], instances: Mapping[str, Instance], times: int
) -> dict[str, Timing]:
    """From asking for an instance to be served until its TPM's first random numbers."""
    samples: dict[str, list[float]] = {name: [] for name in hosts}
    for _ in range(times):
        for name, host in hosts.items():
            host.stop(instances[name])
            began = time.perf_counter()
            host.start(instances[name])
            target = Target(instances[name])
            target.execute(STARTUP_CLEAR)
            target.execute(GET_RANDOM)
            samples[name].append(time.perf_counter() - began)
            target.close()
    return {name: timing(seconds) for name, seconds in samples.items()}


@dataclass(frozen=True)
class Memory:
    """MiB: proportional set size and what is private."""

    pss: float
    private: float


def memory_of(process: int) -> Memory:
    """PSS and private memory; PermissionError for another's process that is not dumpable."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    kib = {key: int(value) for key, value in re.findall(r"(\w+): +(\d+) kB", rollup)}
    return Memory(kib["Pss"] / 1024, (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024)


def memory(host: Host, instances: list[Instance]) -> tuple[Memory, Memory]:
    """Mean of one instance, and the sum of what all share."""
    each = [memory_of(instance.process()) for instance in instances]
    mean = Memory(statistics.mean(m.pss for m in each), statistics.mean(m.private for m in each))
    workers = {instance.process() for instance in instances}
    common = [memory_of(pid) for pid in host.common_processes() if pid not in workers]
    return mean, Memory(sum(m.pss for m in common), sum(m.private for m in common))
