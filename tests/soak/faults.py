"""What is done to a host while its machines work. Each fault ends with all as it was before."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.faults.limits import limit, soft_limit
from tests.peers.instance import wait_until
from tests.peers.vtpmd import Vtpmd, VtpmdInstance

Fault = Callable[["Scene"], None]


class Scene:
    """A host, its instances, and the file system of its state, if that is one of its own."""

    def __init__(
        self, host: Vtpmd, instances: list[VtpmdInstance], disk: Path | None, seed: int
    ) -> None:
        self.host = host
        self.instances = instances
        self.disk = disk
        self.random = random.Random(seed)

    def any(self) -> VtpmdInstance:
        return self.random.choice(self.instances)

    def recover(self) -> None:
        """Have every instance served, as an administrator would who is in a hurry."""
        for instance in self.instances:
            wait_until(lambda instance=instance: _serves(instance), f"{instance.name} is served")  # type: ignore[misc]


def _serves(instance: VtpmdInstance) -> bool:
    if instance.info()["state"] != "running":
        instance.start()
    return bool(instance.info()["state"] == "running")


def kill_worker(scene: Scene) -> None:
    info = scene.any().info()
    if info["worker"] is not None:
        os.kill(info["worker"]["pid"], signal.SIGKILL)


def kill_zygote(scene: Scene) -> None:
    pid = scene.host.process()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)


def kill_daemon(scene: Scene) -> None:
    scene.host.end(signal.SIGKILL)
    scene.host.start()


def kill_daemon_and_worker(scene: Scene) -> None:
    info = scene.any().info()
    scene.host.end(signal.SIGKILL)
    if info["worker"] is not None:
        os.kill(info["worker"]["pid"], signal.SIGKILL)
    scene.host.start()


def stop_and_start(scene: Scene) -> None:
    scene.any().restart()


def freeze_worker(scene: Scene) -> None:
    info = scene.any().info()
    if info["worker"] is None:
        return
    os.kill(info["worker"]["pid"], signal.SIGSTOP)
    time.sleep(scene.random.uniform(0.1, 1.0))
    with contextlib.suppress(ProcessLookupError):
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
    most = soft_limit(pid, "Max file size")
    limit(pid, "fsize", "0")
    time.sleep(scene.random.uniform(0.2, 4.0))
    limit(pid, "fsize", most)


def take_key_away(scene: Scene) -> None:
    """The next daemon finds no key: what lives is not disturbed, what is started is locked."""
    keyring = scene.host.state / "keyring"
    scene.host.end(signal.SIGTERM)
    away = keyring.rename(keyring.with_name("keyring.away"))
    try:
        scene.host.start()
        kill_worker(scene)
        time.sleep(0.5)
        scene.host.end(signal.SIGTERM)
    finally:
        away.rename(keyring)
    scene.host.start()


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
    kill_zygote,
    kill_daemon,
    kill_daemon_and_worker,
    stop_and_start,
    freeze_worker,
    fill_disk,
    fail_writes,
    take_key_away,
)
