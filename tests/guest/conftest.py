"""The guest's image, and TPMs for it that can be killed and started again."""

import fcntl
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guest.emulator import Emulator, Started
from tests.guest.endorsement import Endorsement
from tests.peers.vtpmd import Vtpmd, VtpmdInstance

ROOT = Path(__file__).parents[2]
SWTPM = (
    "swtpm socket --tpm2 --tpmstate dir={directory}/state{{n}} --ctrl type=unixio,path={{socket}}"
)


class Served:
    """An instance of vtpmd as the emulator of a run: it outlives QEMU, and a worker's end."""

    def __init__(self, instance: VtpmdInstance) -> None:
        self._instance = instance

    @property
    def socket(self) -> Path:
        return self._instance.control

    def start(self) -> None:
        """It listens whenever the daemon runs."""

    def kill(self) -> None:
        self._instance.kill()

    def stop(self) -> None:
        """It ends with its daemon."""

    def endorsement(self) -> Endorsement:
        daemon, name = self._instance.daemon, self._instance.name
        report = daemon.control("ek", "show", name)
        return Endorsement.told(report, daemon.text("ca", "show", "--chain"))


class Expected(Served):
    """The same instance on another host, which gets it with its machine and has no copy of it.

    Its place is made when the migration begins: by a ticket, and perhaps after a deep rekey.
    """

    def __init__(self, source: Vtpmd, target: Vtpmd, name: str, *, rekeyed: bool) -> None:
        self._source, self._target, self._name = source, target, name
        self._rekeyed = rekeyed

    def start(self) -> None:
        if self._rekeyed:
            self._source.control("rekey", self._name, "--deep")
        ticket = str(self._source.directory / "ticket")
        self._source.control("migrate", self._name, "--ticket", ticket)
        self._target.control("migrate-check", "--ticket", ticket)
        made = self._target.control("create", "--incoming", "--ticket", ticket)
        super().__init__(VtpmdInstance(self._target, made))


@dataclass(frozen=True)
class Hosts:
    """Two daemons with the same KEKs; the first has an instance `name`."""

    source: Vtpmd
    target: Vtpmd
    name: str

    def emulators(self, *, rekeyed: bool) -> list[Emulator]:
        expected = Expected(self.source, self.target, self.name, rekeyed=rekeyed)
        return [Served(self.source.instance(self.name)), expected]


@pytest.fixture
def hosts(short_path: Path) -> Iterator[Hosts]:
    short_path.chmod(0o711)
    with ExitStack() as closing:
        daemons = []
        for name in ("a", "b"):
            (short_path / name).mkdir()
            daemons.append(Vtpmd(short_path / name))
            closing.callback(daemons[-1].close)
        source, target = daemons
        target.end()
        content = (source.state / "keyring").read_bytes()
        (target.state / "keyring").write_bytes(content)
        target.start()
        yield Hosts(source, target, source.create("guest").name)


@pytest.fixture
def restless(short_path: Path) -> Iterator[list[Emulator]]:
    """TPMs that sleep after a tenth of a second, and whose workers are replaced all the time."""
    daemon = Vtpmd(short_path, more="idle_timeout: 0.1")
    done = threading.Event()

    def upgrade() -> None:
        while not done.wait(0.25):
            daemon.ctl("upgrade", "--all")

    upgrading = threading.Thread(target=upgrade)
    try:
        instances = [daemon.create(f"guest{number}") for number in (1, 2)]
        upgrading.start()
        yield [Served(instance) for instance in instances]
    finally:
        done.set()
        upgrading.join()
        daemon.close()


@pytest.fixture
def served(short_path: Path) -> Iterator[list[Emulator]]:
    """A TPM whose worker can be killed while its machine runs."""
    daemon = Vtpmd(short_path)
    try:
        yield [Served(daemon.create("guest"))]
    finally:
        daemon.close()


@pytest.fixture
def with_post_quantum_keys(short_path: Path) -> Iterator[list[Emulator]]:
    """A TPM of the profile that has ML-KEM and ML-DSA."""
    daemon = Vtpmd(short_path)
    try:
        yield [Served(daemon.create("guest", "--profile", "pqc-v1"))]
    finally:
        daemon.close()


@pytest.fixture(scope="session")
def guest_image() -> Path:
    """The image's directory; built, from cached packages, when something of it has changed."""
    directory = ROOT / "build" / "guest"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:  # processes of pytest-xdist build it once
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([ROOT / "tests/guest/image/build.sh", directory], check=True)
    return directory


@pytest.fixture
def emulators(peer: str, short_path: Path) -> Iterator[list[Emulator]]:
    """Two TPMs: the machine's, and a migration target's."""
    if peer == "swtpm":
        for number in (1, 2):
            os.mkdir(short_path / f"state{number}")
        command = SWTPM.format(directory=short_path)
        yield [
            Started(command, n, short_path / f"tpm{n}.sock", short_path / f"tpm{n}.log")
            for n in (1, 2)
        ]
        return
    daemon = Vtpmd(short_path)
    try:
        yield [Served(daemon.create(f"guest{number}")) for number in (1, 2)]
    finally:
        daemon.close()
