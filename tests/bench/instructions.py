"""How many instructions a command costs a worker, from the request's arrival to its response.

Counted by valgrind, so it is the same on a busy and on an idle machine; what the kernel does is
not in it. `python -m tests.bench.instructions` compares with what was written down for this
interpreter, with `--write` it writes that down.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.target import Target
from tests.bench.workloads import WORKLOADS, Workload
from tests.peers.client import PeerError
from tests.worker.harness import opened
from vtpmd.tpm.engine import Engine

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("instructions.json")
COUNTED = [
    "GetRandom 32",
    "PCR_Extend, password",
    "PCR_Extend, HMAC session",
    "NV_Read 64",
    "ContextSave",
]
MARGIN = 1.1
"""How many times what is written down a command may cost."""
STEPS = 100
"""Enough to spread what happens once in a while, such as the collection of garbage."""
_CONTROL = ".sock.ctrl"
_SUMMARY = re.compile(r"^summary: (\d+)", re.MULTILINE)


class CountError(Exception):
    """valgrind or what it counts has failed."""


def interpreter() -> str:
    """What decides how many instructions the same Python code takes."""
    return (
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.python_compiler()}, {platform.machine()}"
    )


def written_down() -> dict[str, dict[str, int]]:
    """Interpreter to command to instructions."""
    table: dict[str, dict[str, int]] = json.loads(TABLE.read_text())
    return table


def why_not() -> str | None:
    """Why nothing can be compared here; None if it can."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    if interpreter() not in written_down():
        return f"nothing is written down for {interpreter()} in {TABLE.name}"
    return None


@dataclass(frozen=True)
class _Socket:
    """An instance as `Target` wants it: the control socket is all it asks for."""

    control: Path


def _manufacture(directory: Path) -> None:
    def clock() -> int:
        return time.monotonic_ns() // 1_000_000

    engine = Engine.manufacture("default-v1", ["sha256"], random.Random(1).randbytes, clock)
    with opened(directory) as state:
        state.create(engine.permanent())


def _start(directory: Path, served: list[Path]) -> subprocess.Popen[str]:
    """A process that serves each of these TPMs in turn, and counts."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in served]
        for path, listener in zip(served, listeners, strict=True):
            listener.bind(str(path.with_suffix(_CONTROL)))
            listener.listen()
        descriptors = [listener.fileno() for listener in listeners]
        return subprocess.Popen(
            [
                *("valgrind", "--tool=cachegrind", "--cache-sim=no", "--quiet"),
                f"--cachegrind-out-file={directory}/%p.counts",
                *(sys.executable, "-m", "tests.bench.counted"),
                *(f"{path}={fd}" for path, fd in zip(served, descriptors, strict=True)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=descriptors,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )


def _use(path: Path, workload: Workload, steps: int) -> None:
    target = Target(_Socket(path))
    try:
        target.startup()
        step = workload.prepare(target)
        for _ in range(steps):
            step()
        target.end()
    finally:
        target.close()


def _totals(directory: Path, runs: list[tuple[Workload, int]]) -> list[int]:
    """The instructions of a process for each run, its start included."""
    served = [directory / str(number) for number, _ in enumerate(runs)]
    _manufacture(served[0])
    for copy in served[1:]:
        shutil.copytree(served[0], copy)
    with _start(directory, served) as process:
        try:
            for path, (workload, steps) in zip(served, runs, strict=True):
                _use(path.with_suffix(_CONTROL), workload, steps)
            output, errors = process.communicate(timeout=60)
        except (OSError, PeerError) as error:
            process.kill()
            raise CountError(f"{error}: {process.communicate()[1]}") from error
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise CountError(errors)
    counts = [(directory / f"{pid}.counts").read_text() for pid in output.split()]
    return [int(found[1]) for found in map(_SUMMARY.search, counts) if found]


def count(names: Iterable[str] = COUNTED, steps: int = STEPS) -> dict[str, int]:
    """Instructions of each command: twice as many steps cost this much more.

    Raises CountError.
    """
    workloads = [workload for workload in WORKLOADS if workload.name in names]
    runs = [(workload, times * steps) for workload in workloads for times in (1, 2)]
    with tempfile.TemporaryDirectory(prefix="vtpm.") as directory:
        totals = _totals(Path(directory), runs)
    pairs = zip(workloads, totals[::2], totals[1::2], strict=True)
    return {workload.name: (twice - once) // steps for workload, once, twice in pairs}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    given = parser.parse_args()
    counted, known = count(), written_down()
    before = known.get(interpreter(), {})
    for name, instructions in counted.items():
        ratio = f"{instructions / before[name]:.3f}" if name in before else "-"
        print(f"{name:34}{instructions:>12,}{ratio:>8}")
    if given.write:
        known[interpreter()] = counted
        TABLE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
