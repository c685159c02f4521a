"""What is done to a host while its machines work. Each fault ends with all as it was before."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from tests.faults.limits import limit, soft_limit
from tests.peers.instance import wait_until
from tests.peers.vtpmd import Vtpmd, VtpmdInstance
from tests.soak.machines import CountingMachine
from tests.soak.moving import Move
from vtpmd.supervisor.serving_lock import holder

Fault = Callable[["Scene"], None]


class Worker(Protocol):
    """What works on one instance: a machine, or a guest."""

    instance: VtpmdInstance

    def cut(self) -> None:
        """Its process is killed, and it is started anew."""


class Scene:
    """Hosts, what works there, and the file system of their state, if that is one of its own."""

    def __init__(
        self,
        hosts: Sequence[Vtpmd],
        machines: Sequence[CountingMachine],
        guests: Sequence[Worker],
        disk: Path | None,
        seed: int,
    ) -> None:
        self.hosts = hosts
        self.machines = machines
        self.all: Sequence[Worker] = (*machines, *guests)
        self.disk = disk
        self.random = random.Random(seed)

    def any(self) -> VtpmdInstance:
        """One of the instances, where it is now."""
        return self.random.choice(self.all).instance

    def host(self) -> Vtpmd:
        """One of the hosts."""
        return self.random.choice(self.hosts)

    def recover(self) -> None:
        """Have every instance served, as an administrator would who is in a hurry."""
        for each in self.all:
            wait_until(lambda each=each: _serves(each.instance), "an instance is served")  # type: ignore[misc]


def _serves(instance: VtpmdInstance) -> bool:
    if instance.info()["state"] != "running":
        instance.start()
    return bool(instance.info()["state"] == "running")


def kill_worker(scene: Scene) -> None:
    info = scene.any().info()
    if info["worker"] is not None:
        _kill(info["worker"]["pid"])


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it fell asleep meanwhile
        os.kill(pid, signal.SIGKILL)


def kill_machine(scene: Scene) -> None:
    """QEMU's end, as its TPM sees it, or a real one's."""
    scene.random.choice(scene.all).cut()


def kill_keeper(scene: Scene) -> None:
    """Of a host, perhaps while somebody sleeps there: the daemon goes on with its duplicates."""
    machine = scene.random.choice(scene.machines)
    if scene.random.random() < 0.5:
        machine.rest(lambda: bool(machine.instance.info()["asleep"]))
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        pid = holder(machine.instance.daemon.runtime / "workers" / "keeper")
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


def let_sleep(scene: Scene) -> None:
    """One that is connected says nothing until its TPM sleeps, and then goes on."""
    machine = scene.random.choice(scene.machines)
    machine.rest(lambda: bool(machine.instance.info()["asleep"]))


def kill_daemon_amid_sleep(scene: Scene) -> None:
    """Who sleeps wakes without a daemon."""
    machine = scene.random.choice(scene.machines)
    machine.rest(lambda: bool(machine.instance.info()["asleep"]))
    host = machine.instance.daemon
    host.end(signal.SIGKILL)
    time.sleep(scene.random.uniform(0.1, 0.5))
    host.start()


def upgrade(scene: Scene) -> None:
    """All workers of a host are replaced while their machines go on."""
    scene.host().ctl("upgrade", "--all")


def migrate(scene: Scene) -> None:
    """One machine moves to the next host."""
    machine = scene.random.choice(scene.machines)
    here = machine.instance.daemon
    there = scene.random.choice([host for host in scene.hosts if host is not here])
    machine.migrate(Move(there))


def rekey(scene: Scene) -> None:
    """The KEK of a host stays; one TPM gets another DEK."""
    instance = scene.any()
    instance.daemon.ctl("rekey", instance.name, "--deep")


def snapshot(scene: Scene) -> None:
    """A snapshot is made and removed, which the machine must not notice."""
    instance = scene.any()
    instance.daemon.ctl("snapshot", "create", instance.name, "soak")
    instance.daemon.ctl("snapshot", "delete", instance.name, "soak")


def kill_zygote(scene: Scene) -> None:
    pid = scene.host().process()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)


def kill_daemon(scene: Scene) -> None:
    host = scene.host()
    host.end(signal.SIGKILL)
    host.start()


def kill_daemon_and_worker(scene: Scene) -> None:
    instance = scene.any()
    info, host = instance.info(), instance.daemon
    host.end(signal.SIGKILL)
    if info["worker"] is not None:
        _kill(info["worker"]["pid"])
    host.start()


def stop_and_start(scene: Scene) -> None:
    scene.any().restart()


def freeze_worker(scene: Scene) -> None:
    info = scene.any().info()
    if info["worker"] is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(info["worker"]["pid"], signal.SIGSTOP)
        time.sleep(scene.random.uniform(0.1, 1.0))
        os.kill(info["worker"]["pid"], signal.SIGCONT)


def fill_disk(scene: Scene) -> None:
    if scene.disk is None:
        return
    with _full(scene.disk):
        time.sleep(scene.random.uniform(0.2, 1.0))
        kill_worker(scene)
        time.sleep(scene.random.uniform(0.2, 1.0))


def fail_writes(scene: Scene) -> None:
    """No write of one worker succeeds for a while, some longer than an answer is withheld."""
    info = scene.any().info()
    if info["worker"] is None:
        return
    pid = info["worker"]["pid"]
    with contextlib.suppress(FileNotFoundError, subprocess.CalledProcessError):  # it sleeps
        most = soft_limit(pid, "Max file size")
        limit(pid, "fsize", "0")
        time.sleep(scene.random.uniform(0.2, 4.0))
        limit(pid, "fsize", most)


def take_key_away(scene: Scene) -> None:
    """The next daemon finds no key: what lives is not disturbed, what is started is locked."""
    instance = scene.any()
    host, info = instance.daemon, instance.info()
    keyring = host.state / "keyring"
    host.end(signal.SIGTERM)
    away = keyring.rename(keyring.with_name("keyring.away"))
    try:
        host.start()
        if info["worker"] is not None:
            _kill(info["worker"]["pid"])
        time.sleep(0.5)
        host.end(signal.SIGTERM)
    finally:
        away.rename(keyring)
    host.start()


@contextlib.contextmanager
def _full(disk: Path) -> Iterator[None]:
    ballast = disk / "ballast"
    try:
        with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        yield
    finally:
        ballast.unlink()


FAULTS: Final[tuple[Fault, ...]] = (
    kill_worker,
    kill_machine,
    kill_keeper,
    kill_zygote,
    kill_daemon,
    kill_daemon_and_worker,
    stop_and_start,
    freeze_worker,
    fill_disk,
    fail_writes,
    take_key_away,
    let_sleep,
    kill_daemon_amid_sleep,
    upgrade,
    migrate,
    rekey,
    snapshot,
)
