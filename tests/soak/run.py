"""One soak: a host, machines, faults one after the other, and what became of it."""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.peers.vtpmd import Vtpmd
from tests.soak.faults import FAULTS, Scene
from tests.soak.machines import CountingMachine

DISK: Final = 16 << 20


@dataclass
class Outcome:
    """What the machines have done, what was done to them, and what was lost."""

    tally: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)


def soak(seconds: float, machines: int, seed: int) -> Outcome:
    """Let machines work for so many seconds while one fault follows another."""
    outcome = Outcome()
    with _host() as (host, disk):
        instances = [host.create(f"soak{number}") for number in range(machines)]
        threads = [CountingMachine(each, seed + number) for number, each in enumerate(instances)]
        scene = Scene(host, instances, disk, seed)
        for each in threads:
            each.prepare()
        for each in threads:
            each.start()
        try:
            until = time.monotonic() + seconds
            faults = list(FAULTS)
            while time.monotonic() < until:
                scene.random.shuffle(faults)
                for fault in faults:
                    if time.monotonic() >= until:
                        break
                    time.sleep(scene.random.uniform(0.1, 0.5))
                    fault(scene)
                    outcome.faults[fault.__name__.replace("_", " ")] += 1
                    scene.recover()
        finally:
            for each in threads:
                each.ended.set()
            for each in threads:
                each.join()
        scene.recover()
        for each in threads:
            each.check()
            outcome.tally += each.tally
            outcome.losses += each.losses
    return outcome


@contextlib.contextmanager
def _host() -> Iterator[tuple[Vtpmd, Path | None]]:
    """A daemon whose state is on a small file system of its own, where one may be mounted."""
    directory = Path(tempfile.mkdtemp(prefix="vtpm."))
    state = directory / "disk"
    state.mkdir(mode=0o700)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "none", str(state)]
        mounted = not subprocess.run(mount, capture_output=True).returncode
        if mounted:
            stack.callback(subprocess.run, ["umount", str(state)], check=True)
        host = Vtpmd(directory, state=state)
        stack.callback(host.close)
        yield host, state if mounted else None
