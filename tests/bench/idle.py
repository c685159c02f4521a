"""Many started TPMs that nobody uses: what each costs the host."""

import resource
import statistics
import time
from collections.abc import Mapping

from tests.bench.hosts import Host, VtpmdHost
from tests.bench.measure import times
from tests.bench.processes import cpu_seconds, memory_of
from tests.bench.results import Idle
from tests.bench.target import Target
from tests.peers.client import PeerError
from tests.peers.instance import Instance

PRIVATE = "private memory of a TPM, MiB"
PSS = "PSS of a TPM, MiB"
COMMON = "private memory in common, MiB"
SUPERVISOR = "supervisor's memory for a TPM, kB"
ZYGOTE = "zygote, MiB"
LIST = "list, ms"
WAIT = "longest wait while it lists, ms"
CPU = "CPU while idle, ms per second"

FEWEST = 100
"""TPMs from which on it is told what each costs the supervisor: what is made once, while the first
ones are served, would be counted for each of fewer."""
_LISTS = 20
_SECONDS = 5.0
_SETTLING = 5.0
"""What soon follows a start has been done by then: blank workers are forked, a keeper is begun."""
_DESCRIPTORS = 4  # of ours, for an instance


def allow_descriptors(instances: int) -> None:
    """Raise the limit of open files as far as this many instances need it, or as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, 256 + _DESCRIPTORS * instances)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def idle(
    hosts: Mapping[str, Host], instances: Mapping[str, Instance], count: int, scale: float = 1.0
) -> Idle:
    """Let each host serve `count` TPMs, one host after the other; the rows.

    Raises PermissionError where the memory of the processes may not be looked at.
    """
    allow_descriptors(count)
    found = {name: _of(host, [instances[name]], count, scale) for name, host in hosts.items()}
    rows = (PRIVATE, PSS, COMMON, SUPERVISOR, ZYGOTE, LIST, WAIT, CPU)
    return {
        row: {name: numbers[row] for name, numbers in found.items() if row in numbers}
        for row in rows
    }


def _of(host: Host, served: list[Instance], count: int, scale: float) -> dict[str, float]:
    targets = [_started(served[0])]
    try:
        few, supervisor = max(1, count // 4), host.supervisor()
        private_before = 0.0
        while len(served) < count:
            served.append(host.create(f"idle{len(served)}"))
            targets.append(_started(served[-1]))
            if supervisor is not None and len(served) == few:
                private_before = memory_of(supervisor).private
        shortened = min(1.0, 10 * scale)
        time.sleep(_SETTLING * shortened)
        workers = [instance.process() for instance in served]
        common = [pid for pid in host.common_processes() if pid not in workers]
        each = [memory_of(process) for process in workers]
        found = {
            PRIVATE: statistics.mean(memory.private for memory in each),
            PSS: statistics.mean(memory.pss for memory in each),
            CPU: _cpu_of([*workers, *common], _SECONDS * shortened) * 1e3,
        }
        if common:
            found[COMMON] = sum(memory_of(process).private for process in common)
        if isinstance(host, VtpmdHost):
            found[ZYGOTE] = memory_of(host.zygote()).resident
        if supervisor is not None:
            found[LIST] = statistics.median(_listing(host) for _ in range(_LISTS)) * 1e3
            found[WAIT] = max(_waiting(host) for _ in range(times(_LISTS, scale))) * 1e3
            if count >= FEWEST:  # and not the first ones
                grown = memory_of(supervisor).private - private_before
                found[SUPERVISOR] = grown * 1024 / (count - few)
        return found
    finally:
        for target in targets:
            target.close()


def _started(instance: Instance) -> Target:
    target = Target(instance)
    target.startup()
    return target


def _cpu_of(processes: list[int], seconds: float) -> float:
    """Seconds of CPU time that they take together in each second."""
    before = sum(map(cpu_seconds, processes))
    time.sleep(seconds)
    return (sum(map(cpu_seconds, processes)) - before) / seconds


def _waiting(host: Host) -> float:
    """Seconds that somebody else has to wait at most while all instances are listed.

    The supervisor's loop pauses no longer than that.
    """
    longest = 0.0
    with host.listing() as listing:
        while listing.poll() is None:
            began = time.perf_counter()
            host.knock()
            longest = max(longest, time.perf_counter() - began)
    if listing.returncode:
        raise PeerError(f"list: exit status {listing.returncode}")
    return longest


def _listing(host: Host) -> float:
    began = time.perf_counter()
    host.list()
    return time.perf_counter() - began
