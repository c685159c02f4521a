"""A host that is short of descriptors or processes for a moment: nothing is given up for it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.limits import limit, soft_limit
from tests.faults.machine import Machine
from tests.peers.instance import wait_until
from tests.peers.vtpmd import Vtpmd


@contextmanager
def _without_descriptors(pid: int) -> Iterator[None]:
    """While entered, this process may open nothing more."""
    most = soft_limit(pid, "Max open files")
    used = {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    limit(pid, "nofile", str(min(set(range(4096)) - used)))
    try:
        yield
    finally:
        limit(pid, "nofile", most)


def test_a_crash_while_the_daemon_may_open_nothing(host: Vtpmd) -> None:
    instance = host.create("scarce")
    worker = instance.process()
    with _without_descriptors(host.process()):
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: _tries(host) >= 2, "two attempts have failed")
    info = instance.wait_for(
        lambda info: info["worker"] and info["worker"]["pid"] != worker, "another worker"
    )
    assert info["state"] == "running"
    with Machine(instance) as machine:
        machine.define_indices()


def _tries(host: Vtpmd) -> int:
    return host.log().count("Too many open files; next attempt in")
