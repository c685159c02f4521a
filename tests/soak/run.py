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
from tests.soak.guests import CountingGuest
from tests.soak.machines import CountingMachine

DISK: Final = 32 << 20


@dataclass
class Outcome:
    """What the machines have done, what was done to them, and what was lost."""

    tally: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)


def soak(seconds: float, machines: int, seed: int, image: Path | None = None) -> Outcome:
    """Let machines work for so many seconds while one fault follows another.

    With the `image` of a guest one works, too, under QEMU.
    """
    outcome = Outcome()
    with _hosts() as (hosts, disk):
        working = [
            CountingMachine(hosts[number % 2].create(f"soak{number}"), seed + number)
            for number in range(machines)
        ]
        guests = [CountingGuest(hosts[0].create("guest"), image)] if image else []
        scene = Scene(hosts, working, guests, disk, seed)
        threads: list[CountingMachine | CountingGuest] = [*working, *guests]
        for each in threads:
            each.prepare()
        for each in threads:
            each.start()
        try:
            _play(scene, time.monotonic() + seconds, outcome.faults)
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


def _play(scene: Scene, until: float, counts: Counter[str]) -> None:
    faults = list(FAULTS)
    while True:
        scene.random.shuffle(faults)
        for fault in faults:
            if time.monotonic() >= until:
                return
            time.sleep(scene.random.uniform(0.1, 0.5))
            fault(scene)
            counts[fault.__name__.replace("_", " ")] += 1
            scene.recover()


@contextlib.contextmanager
def _hosts() -> Iterator[tuple[list[Vtpmd], Path | None]]:
    """Two daemons with the same KEKs, whose TPMs soon fall asleep.

    Their state is on a small file system of its own, where one may be mounted.
    """
    directory = Path(tempfile.mkdtemp(prefix="vtpm."))
    directory.chmod(0o711)
    disk = directory / "disk"
    disk.mkdir(mode=0o711)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0711", "none", str(disk)]
        mounted = not subprocess.run(mount, capture_output=True).returncode
        if mounted:
            stack.callback(subprocess.run, ["umount", "-l", str(disk)], check=True)
        hosts = []
        for name in ("a", "b"):
            for where in (directory, disk):
                (where / name).mkdir(mode=0o700)
            more = "idle_timeout: 1"
            hosts.append(Vtpmd(directory / name, state=disk / name, more=more))
            stack.callback(hosts[-1].close)
        here, there = hosts
        there.end()
        (there.state / "keyring").write_bytes((here.state / "keyring").read_bytes())
        there.start()
        yield hosts, disk if mounted else None
