"""What is timed, one round of all hosts at a time: commands, a recorded boot, start, creation,
certificates."""

import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench.hosts import Host, VtpmdHost
from tests.bench.results import Samples
from tests.bench.target import Target
from tests.bench.verifying import by_command, inside
from tests.bench.workloads import WORKLOADS, Workload
from tests.peers.client import STARTUP_CLEAR
from tests.peers.instance import Instance

_SAVE = 6 << 10
"""Octets that a TPM with endorsement keys and certificates writes for a change."""
GET_RANDOM = bytes.fromhex("80010000000c0000017b0010")
Hosts = Mapping[str, Host]
Instances = Mapping[str, Instance]


@dataclass(frozen=True)
class Measurement:
    """`apart`: the client and each host's instance have a CPU of their own where there are two;
    else whatever takes part runs on both."""

    name: str
    apart: bool
    round: Callable[[Hosts, Instances, float], dict[str, Samples]]


def _targets(instances: Instances) -> dict[str, Target]:
    return {name: Target(found, found.process()) for name, found in instances.items()}


def _commands(
    workload: Workload, hosts: Hosts, instances: Instances, scale: float
) -> dict[str, Samples]:
    """A step here and a step there, after a reset of each TPM."""
    targets = _targets(instances)
    try:
        steps = {}
        for name, target in targets.items():
            target.startup()
            steps[name] = workload.prepare(target)
            steps[name]()  # what is remembered or loaded once is not what is measured
            target.cpu = 0.0
        samples: dict[str, list[float]] = {name: [] for name in hosts}
        for _ in range(max(3, round(workload.steps * scale))):
            for name, step in steps.items():
                samples[name].append(step())
        return {name: Samples(samples[name], target.cpu) for name, target in targets.items()}
    finally:
        for target in targets.values():
            target.close()


def recorded_commands(log: Path) -> list[bytes]:
    """The commands in a log of swtpm's (level 20): hex dumps behind "SWTPM_IO_Read"."""
    dumps = re.findall(r"SWTPM_IO_Read: length \d+\n((?: (?:[0-9A-F]{2} )+\n?)+)", log.read_text())
    return [bytes.fromhex(dump) for dump in dumps]


def _recorded_boot(
    commands: list[bytes], hosts: Hosts, instances: Instances, scale: float
) -> dict[str, Samples]:
    """Seconds that all commands of a recorded boot take together, boot by boot."""
    targets = _targets(instances)
    samples: dict[str, list[float]] = {name: [] for name in targets}
    for _ in range(times(20, scale)):
        for name, target in targets.items():
            target.reset()
            samples[name].append(sum(target.timed(data)[0] for data in commands))
    for target in targets.values():
        target.close()
    return {name: Samples(samples[name], target.cpu) for name, target in targets.items()}


def _synced_writes(hosts: Hosts, instances: Instances, scale: float) -> dict[str, Samples]:
    """What durability alone costs there: as much as a save, to the file system of the states."""
    data = os.urandom(_SAVE)
    samples: dict[str, Samples] = {}
    for name in (name for name, host in hosts.items() if isinstance(host, VtpmdHost)):
        with tempfile.TemporaryFile(dir=instances[name].control.parent) as file:
            os.posix_fallocate(file.fileno(), 0, _SAVE)
            os.fsync(file.fileno())
            seconds = []
            for _ in range(max(3, round(200 * scale))):
                began = time.perf_counter()
                os.pwrite(file.fileno(), data, 0)
                os.fdatasync(file.fileno())
                seconds.append(time.perf_counter() - began)
        samples[name] = Samples(seconds)
    return samples


def _starts(hosts: Hosts, instances: Instances, scale: float) -> dict[str, Samples]:
    """From asking for an instance to be served until its TPM's first random numbers."""
    samples: dict[str, list[float]] = {name: [] for name in hosts}
    for _ in range(times(20, scale)):
        for name, host in hosts.items():
            host.stop(instances[name])
            began = time.perf_counter()
            host.start(instances[name])
            target = Target(instances[name])
            target.execute(STARTUP_CLEAR)
            target.execute(GET_RANDOM)
            samples[name].append(time.perf_counter() - began)
            target.close()
    return {name: Samples(seconds) for name, seconds in samples.items()}


def _creations(
    make: Callable[[Host, str], None], hosts: Hosts, instances: Instances, scale: float
) -> dict[str, Samples]:
    """From asking for a new TPM with endorsement keys until it is there."""
    samples: dict[str, list[float]] = {name: [] for name in hosts}
    for _ in range(times(5, scale)):
        for name, host in hosts.items():
            began = time.perf_counter()
            make(host, "new")
            samples[name].append(time.perf_counter() - began)
            host.unmake("new")
    return {name: Samples(seconds) for name, seconds in samples.items()}


def _certificates(
    make: Callable[[Host, Instance], None], hosts: Hosts, instances: Instances, scale: float
) -> dict[str, Samples]:
    """From asking for something about a running TPM's certificates until it is done."""
    asked = {name: host for name, host in hosts.items() if host.supervisor() is not None}
    samples: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(times(10, scale)):
        for name, host in asked.items():
            began = time.perf_counter()
            make(host, instances[name])
            samples[name].append(time.perf_counter() - began)
    return {name: Samples(seconds) for name, seconds in samples.items()}


def _verifications(
    verify: Callable[[Path, int], list[float]],
    count: int,
    hosts: Hosts,
    instances: Instances,
    scale: float,
) -> dict[str, Samples]:
    """Each vtpmd's verifier, which no daemon takes part in."""
    return {
        name: Samples(verify(host.commands, times(count, scale)))
        for name, host in hosts.items()
        if isinstance(host, VtpmdHost)
    }


def times(count: int, scale: float) -> int:
    """How many steps of `count` a scaled round has: one at least."""
    return round(count * scale) or 1


def measurements(boot: Path) -> list[Measurement]:
    """All of them; `boot`: the log of the recorded one, which need not be there."""
    found = [Measurement(each.name, True, partial(_commands, each)) for each in WORKLOADS]
    if boot.exists():
        commands = recorded_commands(boot)
        name = f"Windows 11 boot, {len(commands)} commands"
        found.append(Measurement(name, True, partial(_recorded_boot, commands)))
    return [
        *found,
        Measurement("NV_Write 64, its sync alone", True, _synced_writes),
        Measurement("start to first answer", False, _starts),
        Measurement(
            "API create, swtpm_setup",
            False,
            partial(_creations, lambda host, name: host.make(name)),
        ),
        Measurement(
            "vtpmctl create, swtpm_setup",
            False,
            partial(_creations, lambda host, name: host.make_by_command(name)),
        ),
        Measurement(
            "ek csr, running TPM",
            False,
            partial(_certificates, lambda host, instance: host.request_certificates(instance)),
        ),
        Measurement(
            "ek renew, running TPM",
            False,
            partial(_certificates, lambda host, instance: host.renew_certificates(instance)),
        ),
        Measurement("verify quote and log, inside", False, partial(_verifications, inside, 200)),
        Measurement(
            "vtpmctl verify quote, with log", False, partial(_verifications, by_command, 10)
        ),
    ]
