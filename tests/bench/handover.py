"""How long a machine waits when another worker, or another host, goes on with its TPM.

    python -m tests.bench.handover [--rounds N]

Milliseconds, as the machine's side sees them: *pause*, the slowest of the answers that it got
around a hand-over to a fresh worker (vtpmctl upgrade) while it sent one command after the other;
*wake*, the first answer of a TPM that slept; and the TPM's part of a live migration: reading the
state at the source, taking it in at the target, and the first answer there.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.faults.machine import RANDOM, Machine
from tests.peers.client import CMD_SHUTDOWN, PeerError
from tests.peers.vtpmd import Vtpmd, VtpmdInstance

ROUNDS: Final = 50
IDLE: Final = 0.5
_AROUND: Final = 0.1
"""Seconds before and after a hand-over in which its pause is looked for."""

Times = dict[str, list[float]]


def measured(rounds: int) -> Times:
    """Milliseconds of each round, by what they are of."""
    with tempfile.TemporaryDirectory(prefix="vtpm.") as directory, ExitStack() as closing:
        root = Path(directory)
        root.chmod(0o711)
        hosts = []
        for name, more in (("a", ""), ("b", ""), ("sleepy", f"idle_timeout: {IDLE}")):
            (root / name).mkdir()
            hosts.append(Vtpmd(root / name, more=more))
            closing.callback(hosts[-1].close)
        here, there, sleepy = hosts
        there.end()
        (there.state / "keyring").write_bytes((here.state / "keyring").read_bytes())
        there.start()
        return {
            "pause of a hand-over": _pauses(here.create("upgraded"), rounds),
            "wake": _wakes(sleepy.create("sleeper"), rounds),
            **_migrations(here.create("mover"), there, rounds),
        }


def in_use(instance: VtpmdInstance) -> Machine:
    """A machine whose TPM has NV indices, a loaded key and an extended PCR."""
    machine = Machine(instance)
    machine.define_indices()
    machine.storage_key()
    machine.extend(bytes(32))
    return machine


def _pauses(instance: VtpmdInstance, rounds: int) -> list[float]:
    pauses = []
    with in_use(instance) as machine:
        for _ in range(rounds):
            handing = threading.Thread(target=_upgrade, args=(instance,))
            slowest, until = 0.0, time.monotonic() + _AROUND
            handing.start()
            while handing.is_alive() or time.monotonic() < until:
                slowest = max(slowest, _timed(lambda: machine.succeed(RANDOM)))
            handing.join()
            pauses.append(slowest)
    return pauses


def _upgrade(instance: VtpmdInstance) -> None:
    status, answer = instance.daemon.request("POST", f"/instances/{instance.name}/upgrade")
    if status != 200:
        raise PeerError(f"upgrade: {answer}: {instance.daemon.log()[-3000:]}")


def _wakes(instance: VtpmdInstance, rounds: int) -> list[float]:
    wakes = []
    with in_use(instance) as machine:
        for _ in range(rounds):
            instance.wait_for(lambda info: info["asleep"], "it sleeps")
            wakes.append(_timed(lambda: machine.succeed(RANDOM)))
    return wakes


def _migrations(instance: VtpmdInstance, other: Vtpmd, rounds: int) -> Times:
    """To and fro; each time an instance waits at the target already, as after `migrate-check`."""
    source, target = instance.daemon, other
    times: Times = {"migration: read": [], "migration: take in": [], "migration: first answer": []}
    name, uuid = instance.name, instance.info()["uuid"]
    other.control("create", "--incoming", "--uuid", uuid, name)
    machine = in_use(instance)
    for _ in range(rounds):
        moved = Machine(target.instance(name), incoming=True)
        began = time.perf_counter()
        state = machine.control.read_state()
        read = time.perf_counter()
        moved.take_in(state)
        taken = time.perf_counter()
        moved.succeed(RANDOM)
        ended = time.perf_counter()
        for part, seconds in zip(
            times.values(), (read - began, taken - read, ended - taken), strict=True
        ):
            part.append(seconds * 1e3)
        machine.control.command(CMD_SHUTDOWN)  # as QEMU does at its end
        machine.close()
        machine, source, target = moved, target, source
    machine.close()
    times["migration: all"] = [sum(parts) for parts in zip(*times.values(), strict=True)]
    return times


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each; {ROUNDS}")
    times = measured(parser.parse_args().rounds)
    print(f"{'milliseconds':28}{'p50':>8}{'p99':>8}{'most':>8}")
    for name, found in times.items():
        p99 = statistics.quantiles(found, n=100, method="inclusive")[98]
        print(f"{name:28}{statistics.median(found):8.1f}{p99:8.1f}{max(found):8.1f}")


if __name__ == "__main__":
    main()
