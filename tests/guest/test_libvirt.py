"""Real libvirt, whose machines are saved, turned back, reset and migrated with vtpmd's TPM."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.guest import libvirt
from tests.guest.conftest import Hosts
from tests.guest.errors import GuestError
from tests.guest.libvirt import Libvirt
from tests.guest.shell import Shell
from tests.peers.instance import wait_until
from tests.peers.vtpmd import Vtpmd, VtpmdInstance

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(bool(why := libvirt.missing()), reason=why),
]
COUNTER = "0x01500030"
DEFINE = f"tpm2 nvdefine -Q -C o -a 'ownerread|ownerwrite|nt=counter' {COUNTER}"
COUNT = f"tpm2 nvincrement -Q -C o {COUNTER} && tpm2 nvread -C o -s 8 {COUNTER} | od -An -tu1"
EXTEND = f"tpm2 pcrextend 16:sha256={'11' * 32}"
PCR = "tpm2 pcrread sha256:16 | tail -n 1"
EXTENDED = "8878B15A7D6A3A4F464E8F9F42591DBC0CF4BEDEA0EC309003D2B2EE53655EF8"
"""SHA-256 of 32 octets 0 and 32 octets 0x11, as sha256sum has it."""


class Machine:
    """A machine whose TPM is vtpmd's instance of the same name, wherever it is."""

    def __init__(self, directory: Path, image: Path, instance: VtpmdInstance, model: str) -> None:
        directory.chmod(0o755)
        for name in ("vmlinuz", "initramfs.img"):
            shutil.copyfile(image / name, directory / name)
        self.name = instance.name
        uuid = instance.info()["uuid"]
        self._path = directory / f"{self.name}.xml"
        text = libvirt.described(directory, directory, self.name, uuid, model)
        self._path.write_text(text)

    def start(self, host: Libvirt) -> None:
        """Start it on a host that does not know it, up to its shell."""
        host.virsh("define", str(self._path))
        host.virsh("start", self.name)
        self.booted(host)

    def shell(self, host: Libvirt) -> Shell:
        return Shell.connected(host.directory / "run" / f"{self.name}.serial")

    def booted(self, host: Libvirt) -> None:
        with self.shell(host) as shell:
            shell.booted()

    def run(self, host: Libvirt, command: str) -> str:
        with self.shell(host) as shell:
            return shell.run(command)

    def counts(self, host: Libvirt) -> int:
        """The counter's value after one increment more."""
        return int(self.run(host, COUNT).split()[-1])

    def pcr(self, host: Libvirt) -> str:
        return self.run(host, PCR).split("0x")[-1]


@pytest.fixture
def one(short_path: Path) -> Iterator[tuple[Libvirt, VtpmdInstance]]:
    short_path.chmod(0o711)
    (short_path / "d").mkdir()
    with ExitStack() as closing:
        daemon = Vtpmd(short_path / "d")
        closing.callback(daemon.close)
        instance = daemon.create("web1")
        host = Libvirt(short_path / "a", daemon, "a")
        closing.callback(host.close)
        yield host, instance


def test_a_machine_is_saved_turned_back_and_begun_anew(
    one: tuple[Libvirt, VtpmdInstance], guest_image: Path, tmp_path: Path, short_path: Path
) -> None:
    host, instance = one
    daemon = instance.daemon
    (short_path / "m").mkdir()
    machine = Machine(short_path / "m", guest_image, instance, "crb")
    machine.start(host)
    machine.run(host, f"{DEFINE} && {EXTEND}")
    assert machine.counts(host) == 1

    # save and restore, with a new key in between
    saved = short_path / "saved"
    host.virsh("save", "web1", str(saved))
    assert instance.info()["handover"] == "lent"
    daemon.control("rekey", "web1", "--deep")
    host.virsh("restore", str(saved))
    assert (machine.pcr(host), machine.counts(host)) == (EXTENDED, 2)
    assert instance.info()["handover"] == "ours"

    # a snapshot of a running machine, with another new key before it is turned back to that
    host.virsh("snapshot-create-as", "web1", "then")
    machine.run(host, EXTEND)
    assert machine.counts(host) == 3
    daemon.control("rekey", "web1", "--deep")
    host.virsh("snapshot-revert", "web1", "then")
    assert (machine.pcr(host), machine.counts(host)) == (EXTENDED, 3)

    # saved by libvirt itself, and started from that
    host.virsh("managedsave", "web1")
    assert instance.info()["handover"] == "lent"
    host.virsh("start", "web1")
    assert (machine.pcr(host), machine.counts(host)) == (EXTENDED, 4)
    epoch = instance.info()["worker"]["epoch"]

    # what was saved is given up: the machine boots cold, which begins a new epoch and is told
    host.virsh("managedsave", "web1")
    host.virsh("managedsave-remove", "web1")
    host.virsh("start", "web1")
    wait_until(lambda: instance.info()["handover"] == "ours", "the firmware uses its TPM", 60)
    assert instance.info()["worker"]["epoch"] == epoch + 1
    assert "begun-anew" in daemon.log()

    # reset and destroyed, without a word to the TPM
    host.virsh("reset", "web1")
    host.virsh("destroy", "web1")
    host.virsh("start", "web1")
    machine.booted(host)
    assert (machine.pcr(host), machine.counts(host)) == ("0" * 64, 5)
    info = instance.info()
    assert (info["state"], info["handover"]) == ("running", "ours")


@pytest.fixture
def two(hosts: Hosts, short_path: Path) -> Iterator[tuple[Libvirt, Libvirt, VtpmdInstance]]:
    with ExitStack() as closing:
        made = []
        for name, daemon in (("la", hosts.source), ("lb", hosts.target)):
            made.append(Libvirt(short_path / name, daemon, name, hook=True))
            closing.callback(made[-1].close)
        yield made[0], made[1], hosts.source.instance(hosts.name)


def migrate(machine: Machine, source: Libvirt, target: Libvirt) -> None:
    options = ["--live", "--p2p", "--persistent", "--undefinesource", "--unsafe"]
    channel = target.directory / "incoming" / "socket"
    source.virsh("migrate", *options, machine.name, target.uri, "--migrateuri", f"unix://{channel}")


def test_a_machine_migrates_to_and_fro_with_the_hook(
    two: tuple[Libvirt, Libvirt, VtpmdInstance], guest_image: Path, short_path: Path
) -> None:
    here, there, instance = two
    name, source, target = instance.name, instance.daemon, there.daemon
    (short_path / "m").mkdir()
    machine = Machine(short_path / "m", guest_image, instance, "tis")
    machine.start(here)
    machine.run(here, f"{DEFINE} && {EXTEND}")

    # a target that cannot open it: the machine goes on where it is
    kept = target.state / "keyring"
    held = kept.read_bytes()
    target.end()
    kept.unlink()
    target.start()
    with pytest.raises(GuestError, match="virsh migrate"):
        migrate(machine, here, there)
    assert (machine.pcr(here), machine.counts(here)) == (EXTENDED, 1)
    assert source.control("info", name)["handover"] == "ours"

    # the hook makes the place, by the ticket that the source's administrator has sent
    target.end()
    kept.write_bytes(held)
    target.start()
    target.control("stop", name)
    target.control("delete", name, "--yes")
    tickets = there.directory / "lib" / "vtpmd-tickets"
    tickets.mkdir()
    source.control("migrate", name, "--ticket", str(tickets / f"{name}.ticket"))
    migrate(machine, here, there)
    assert (machine.pcr(there), machine.counts(there)) == (EXTENDED, 2)
    assert source.control("info", name)["handover"] == "away"
    found = target.control("info", name)
    assert (found["state"], found["handover"], found["certificates"]) == (
        "running",
        "ours",
        "valid",
    )

    # and back, undeclared: the hook serves what an earlier stay has left
    migrate(machine, there, here)
    assert (machine.pcr(here), machine.counts(here)) == (EXTENDED, 3)
    assert source.control("info", name)["handover"] == "ours"
    assert target.control("info", name)["handover"] == "lent"
    target.control("migrate", name, "--done")
    assert target.control("info", name)["handover"] == "away"
