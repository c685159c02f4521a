"""libvirt's hook, called as libvirt documents it, at a real daemon."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.vtpmd import COMMANDS
from tests.supervisor.harness import Daemon, running
from tests.worker.harness import STARTUP_CLEAR, SUCCESS, Qemu, tpm
from tests.worker.test_handover import read_state
from vtpmd.cli.verbs.libvirt_xml import element

HOOK = Path(__file__).parents[2] / "examples" / "libvirt" / "qemu"
UUID = "6f1f7f5e-0d0b-4b8e-9a53-2f5a44f3b009"
MIGRATE, RELEASE = ("migrate", "begin", "-"), ("release", "end", "migrated")


PREPARE = ("prepare", "begin", "-")


def description(tpm: str, demands: str = "") -> str:
    metadata = f"<metadata><v:tpm xmlns:v='urn:vtpmd:libvirt:1' {demands}/></metadata>"
    return (
        f"<domain type='kvm'><name>guest</name><uuid>{UUID}</uuid>{metadata if demands else ''}"
        f"<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{tpm}</devices></domain>"
    )


def hook(daemon: Daemon, arguments: tuple[str, ...], xml: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{COMMANDS}:{os.environ['PATH']}",
        "VTPMD_ADMIN_SOCKET": str(daemon.admin),
        "VTPMD_TICKETS": str(daemon.directory),
    }
    done = subprocess.run(
        [sys.executable, HOOK, "guest", *arguments],
        input=xml,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""  # libvirt would take it for another description
    return done


@pytest.fixture(scope="module")
def host() -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory(prefix="vtpm.") as directory, running(Path(directory)) as it:
        yield it


@pytest.fixture
def daemon(host: Daemon) -> Iterator[Daemon]:
    """A daemon without instances, before and after."""
    if host.ended:
        host.start()
    yield host
    if not host.ended and host.ctl("info", "web1").returncode == 0:
        host.control("stop", "web1")
        host.control("delete", "web1", "--yes")


@pytest.fixture
def xml(daemon: Daemon) -> str:
    return description(element(f"{daemon.runtime}/web1.sock.ctrl", "crb"))


@pytest.fixture
def machine(daemon: Daemon) -> Iterator[Qemu]:
    made = daemon.control("create", "--uuid", UUID, "web1")
    with Qemu(Path(made["control_socket"])) as qemu:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        yield qemu


def test_a_place_is_made_on_the_target_once(daemon: Daemon, xml: str) -> None:
    for _ in range(2):
        done = hook(daemon, MIGRATE, xml)
        assert (done.returncode, done.stderr) == (0, "")
        made = daemon.control("info", "web1")
        assert (made["state"], made["uuid"]) == ("incoming", UUID)
    daemon.control("stop", "web1")
    assert hook(daemon, MIGRATE, xml).returncode == 0
    assert daemon.control("info", "web1")["state"] == "incoming"


def test_a_ticket_is_used_if_it_is_there(daemon: Daemon, tmp_path: Path, xml: str) -> None:
    ticket = tmp_path / "ticket"
    made = daemon.control("create", "web1", "--mode", "0600")
    daemon.control("migrate", "web1", "--ticket", str(ticket))
    daemon.control("stop", "web1")
    daemon.control("delete", "web1", "--yes")
    (daemon.directory / "web1.ticket").write_bytes(ticket.read_bytes())
    assert hook(daemon, MIGRATE, xml).returncode == 0
    found = daemon.control("info", "web1")
    assert (found["uuid"], found["access"]) == (made["uuid"], made["access"])


def test_what_has_moved_is_away_at_the_source(daemon: Daemon, xml: str, machine: Qemu) -> None:
    done = hook(daemon, RELEASE, xml)
    assert done.returncode == 1  # its state was not read: it can't have moved
    assert "nothing was migrated" in done.stderr
    assert read_state(machine.control)
    for reason in ("-", "saved", "shutdown"):
        assert hook(daemon, ("release", "end", reason), xml).returncode == 0
        assert daemon.control("info", "web1")["handover"] == "lent"
    assert hook(daemon, RELEASE, xml).returncode == 0
    assert daemon.control("info", "web1")["handover"] == "away"
    assert hook(daemon, RELEASE, xml).returncode == 0


def test_a_failure_cancels_the_migration(daemon: Daemon, xml: str) -> None:
    daemon.end()
    done = hook(daemon, MIGRATE, xml)
    assert done.returncode == 1
    assert "No answer from vtpmd" in done.stderr


@pytest.mark.parametrize("arguments", [MIGRATE, RELEASE])
def test_no_name_is_taken_for_an_option(daemon: Daemon, arguments: tuple[str, ...]) -> None:
    """Each verb with --help is content."""
    xml = description(element(f"{daemon.runtime}/--help.sock.ctrl", "crb"))
    assert hook(daemon, arguments, xml).returncode == 1


@pytest.mark.parametrize("operation", ["prepare", "start", "started", "reconnect", "restore"])
def test_everything_else_is_left_alone(daemon: Daemon, xml: str, operation: str) -> None:
    assert hook(daemon, (operation, "begin", "-"), xml).returncode == 0
    assert daemon.control("list")["instances"] == []


@pytest.mark.parametrize(
    "found",
    [
        "",
        "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>",
        "<tpm><backend type='external'><source path='/run/swtpm/sock'/></backend></tpm>",
    ],
)
def test_so_are_machines_without_a_tpm_of_vtpmd(daemon: Daemon, found: str) -> None:
    for arguments in (MIGRATE, RELEASE):
        assert hook(daemon, arguments, description(found)).returncode == 0
    assert daemon.control("list")["instances"] == []


def asking(daemon: Daemon, demands: str) -> str:
    return description(element(f"{daemon.runtime}/web1.sock.ctrl", "crb"), demands)


def test_a_tpm_is_made_and_removed_with_its_machine(daemon: Daemon) -> None:
    xml = asking(daemon, "create='yes' remove='yes'")
    assert hook(daemon, PREPARE, xml).returncode == 0
    made = daemon.control("info", "web1")
    assert (made["state"], made["uuid"]) == ("running", UUID)
    for reason in ("saved", "migrated", "failed", "-"):
        hook(daemon, ("release", "end", reason), xml)
        assert daemon.control("info", "web1")["uuid"] == UUID
    assert hook(daemon, PREPARE, xml).returncode == 0  # it starts again, with the same
    assert daemon.control("info", "web1")["created"] == made["created"]
    assert hook(daemon, ("release", "end", "shutdown"), xml).returncode == 0
    assert daemon.ctl("info", "web1").returncode == 5


def test_a_tpm_is_neither_made_nor_removed_unless_that_is_asked_for(
    daemon: Daemon, xml: str
) -> None:
    for description_ in (xml, asking(daemon, "create='no'")):
        assert hook(daemon, PREPARE, description_).returncode == 0
        assert daemon.ctl("info", "web1").returncode == 5
    daemon.control("create", "web1", "--no-start")
    assert hook(daemon, PREPARE, xml).returncode == 0
    assert daemon.control("info", "web1")["state"] == "running"
    for ended in ("shutdown", "destroyed", "crashed"):
        assert hook(daemon, ("release", "end", ended), xml).returncode == 0
    assert daemon.control("info", "web1")["state"] == "running"
