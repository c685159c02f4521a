"""strace on a process that runs already: what it calls, and a SIGKILL at one of the calls.

The production code has no hook for this; a worker is not dumpable, so only root may trace it.
"""

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.peers.instance import wait_until

STRACE = shutil.which("strace")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")
needs_tracing = pytest.mark.skipif(
    os.geteuid() != 0 or STRACE is None, reason="needs strace and root"
)

Call = tuple[str, int]  # the name of a system call, and the how manieth of this name it is
_LINE = re.compile(r"(?:\d+ +)?([a-z0-9_]+)\(")


@contextmanager
def traced(pid: int, log: Path, *options: str) -> Iterator[None]:
    """Trace a process into `log`, until it ends or this does."""
    assert STRACE is not None
    command = [STRACE, "-qq", "-o", str(log), "-e", "signal=none", *options, "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: _is_traced(pid) or tracer.poll() is not None, "strace")
        if tracer.poll() is not None:
            pytest.skip(f"strace may not trace here: {tracer.communicate()[1]}")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate()


def killing(call: Call, *options: str) -> list[str]:
    """Options that end the traced process when it is about to make this call."""
    name, count = call
    return [*options, "-e", f"inject={name}:signal=KILL:when={count}"]


def calls(log: Path) -> list[Call]:
    """The system calls of a trace; each thread of a `-f` counts for itself."""
    counts: Counter[tuple[str, str]] = Counter()
    found = []
    for line in log.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is not None:
            thread = line.split()[0] if line[0].isdigit() else ""
            counts[thread, match[1]] += 1
            found.append((match[1], counts[thread, match[1]]))
    return found


def _is_traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return "TracerPid:\t0" not in status
