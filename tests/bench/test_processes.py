"""Placements, pinning, and what processes take, beside what Python and the kernel say of it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import processes
from tests.bench.processes import Placement, cpu_seconds, family, memory_of, pin, placements


@pytest.fixture
def affinity() -> Iterator[set[int]]:
    before = os.sched_getaffinity(0)
    yield before
    os.sched_setaffinity(0, before)


def test_one_cpu_is_one_placement() -> None:
    assert placements([5]) == [Placement("one CPU", 5, 5)]


def test_two_placements_take_cpus_of_different_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_siblings", lambda cpu: {cpu, cpu ^ 1})
    assert placements([0, 1, 2, 3]) == [Placement("one CPU", 3, 3), Placement("two CPUs", 3, 1)]
    assert placements([0, 1])[1] == Placement("two CPUs", 1, 0)  # better than nothing


def test_a_cpu_is_among_its_siblings() -> None:
    for cpu in os.sched_getaffinity(0):
        assert cpu in processes._siblings(cpu)


def test_every_thread_is_pinned(affinity: set[int]) -> None:
    if len(affinity) < 2:
        pytest.skip("there is one CPU")
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        pin(os.getpid(), {min(affinity)})
        assert os.sched_getaffinity(0) == {min(affinity)}
        assert os.sched_getaffinity(thread.native_id or 0) == {min(affinity)}
    finally:
        pin(os.getpid(), affinity)
        end.set()
        thread.join()


def test_a_family_has_all_generations() -> None:
    script = r"import os; os.fork() or os.fork(); os.write(1, b'%d\n' % os.getpid()); os.read(0, 1)"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe) as first:
        assert first.stdout is not None
        members = {int(first.stdout.readline()) for _ in range(3)}
        assert set(family(first.pid)) == members
        assert members < set(family(os.getpid()))
        first.communicate(b"\n\n\n")


def test_cpu_time_is_that_of_the_process() -> None:
    before = time.process_time()
    seen = cpu_seconds(os.getpid())
    assert before <= seen <= time.process_time()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert cpu_seconds(other.pid) < seen + 60  # it has a clock of its own
        other.communicate(b"\n")
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_seconds(other.pid)


def test_memory_is_that_of_the_kernel() -> None:
    held = bytearray(os.urandom(8 << 20))
    found = memory_of(os.getpid())
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert len(held) >> 20 <= found.private <= found.pss <= found.resident
    assert abs(found.resident - resident / (1 << 20)) <= 1
