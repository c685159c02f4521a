"""A TPM that moves to another daemon, which has nothing of it but the key provider's key."""

import itertools
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.harness import Daemon, running
from tests.worker.harness import GET_RANDOM_16, STARTUP_CLEAR, SUCCESS, Qemu, control, get_blob, tpm
from tests.worker.test_handover import PERMANENT, VOLATILE, read_state
from tests.worker.test_incoming import DECRYPT_ERROR
from tests.worker.test_migration import set_blob

_numbers = itertools.count()


@contextmanager
def host() -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory(prefix="vtpm.") as directory, running(Path(directory)) as it:
        yield it


@pytest.fixture(scope="module")
def source() -> Iterator[Daemon]:
    with host() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def target(source: Daemon) -> Iterator[Daemon]:
    """Another host, which has the KEKs of the first."""
    with host() as daemon:
        daemon.end()
        shutil.copy(source.state / "keyring", daemon.state / "keyring")
        daemon.start()
        yield daemon


@pytest.fixture(scope="module")
def stranger() -> Iterator[Daemon]:
    """A host with KEKs of its own."""
    with host() as daemon:
        yield daemon


@dataclass
class Machine:
    """A machine that runs at the source."""

    name: str
    uuid: str
    qemu: Qemu

    def move(self, there: Qemu) -> set[int]:
        """What each blob is answered with at the target; the source has handed over then."""
        control_ = self.qemu.control
        blobs = {kind: get_blob(control_, kind) for kind in (PERMANENT, VOLATILE)}
        assert read_state(control_)
        assert control(there.control, 0x0E) == bytes(4)
        return {set_blob(there.control, kind, blob) for kind, blob in blobs.items()}


@pytest.fixture
def machine(source: Daemon) -> Iterator[Machine]:
    made = source.control("create", f"web{next(_numbers)}")
    with closing(Qemu(Path(made["control_socket"]))) as qemu:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        yield Machine(made["name"], made["uuid"], qemu)


def go_on(there: Qemu) -> None:
    assert control(there.control, 0x02, struct.pack(">I", 0)) == bytes(4)
    assert len(tpm(there.data, GET_RANDOM_16)) == 28


def incoming(target: Daemon, *arguments: str) -> Any:
    made = target.control("create", "--incoming", *arguments)
    assert made["state"] == "incoming"
    return made


def come(target: Daemon, name: str) -> Any:
    return target.until(name, lambda info: info["state"] == "running" and info)


def test_a_tpm_moves_to_a_host_that_has_nothing_of_it(
    source: Daemon, target: Daemon, machine: Machine
) -> None:
    name = machine.name
    said = source.control("info", name)
    made = incoming(target, "--uuid", machine.uuid, name)
    assert (made["provider"], made["profile"], made["keys"]) == ("", "", [])
    source.control("migrate", name)
    with Qemu(Path(made["control_socket"])) as there:
        assert machine.move(there) == {0}
        go_on(there)
        found = come(target, name)
        assert "come from another host" in found["reason"]
        for field in ("uuid", "profile", "pcr_banks", "provider", "keys"):
            assert found[field] == said[field]
        assert (found["worker"]["epoch"], found["worker"]["pending"]) == (1, False)
        assert source.control("info", name)["handover"] == "away"
        target.restart()
        assert target.control("info", name)["state"] == "running"
        assert len(tpm(there.data, GET_RANDOM_16)) == 28
    target.control("stop", name)
    assert target.control("start", name)["reason"] == "ready: QEMU can connect"
    source.control("stop", name, "--force")
    assert source.ctl("backup", name, "-").returncode == 7
    (key,) = source.control("delete", name, "--yes")["keys"]
    assert not key["destroyed"]
    assert "handed over" in key["reason"]


def test_a_ticket_says_the_rest(
    source: Daemon, target: Daemon, machine: Machine, tmp_path: Path
) -> None:
    name, file = machine.name, str(tmp_path / "ticket")
    source.control("set", name, "--owner", "root", "--mode", "0600")
    assert source.control("migrate", name, "--ticket", file)["worker"]["declared"]
    found = target.control("migrate-check", "--ticket", file)
    assert (found["name"], found["uuid"], found["present"]) == (name, machine.uuid, "nothing")
    made = incoming(target, "--ticket", file)
    said = source.control("info", name)
    for field in ("name", "uuid", "created", "profile", "pcr_banks", "provider", "access"):
        assert made[field] == said[field]
    assert target.control("migrate-check", "--ticket", file)["present"] == "incoming"
    with Qemu(Path(made["control_socket"])) as there:
        assert machine.move(there) == {0}
        go_on(there)
        assert come(target, name)["certificates"] == said["certificates"]
        ours, theirs = (each.control("ek", "show", name) for each in (source, target))
        assert {key["source"] for key in ours["keys"]} == {"own"}
        assert {key["source"] for key in theirs["keys"]} == {"foreign"}  # another host's authority
        assert theirs["keys"] == [key | {"source": "foreign"} for key in ours["keys"]]
        assert target.control("migrate-check", "--ticket", file)["present"] == "state"


def test_what_cannot_be_opened_is_refused_while_the_source_lives(
    source: Daemon, stranger: Daemon, machine: Machine, tmp_path: Path
) -> None:
    name, file = machine.name, str(tmp_path / "ticket")
    source.control("migrate", name, "--ticket", file)
    assert stranger.ctl("migrate-check", "--ticket", file).returncode == 8
    assert stranger.ctl("create", "--incoming", "--ticket", file).returncode == 8
    made = incoming(stranger, "--uuid", machine.uuid, name)
    with Qemu(Path(made["control_socket"])) as there:
        assert machine.move(there) == {DECRYPT_ERROR}
        found = stranger.until(name, lambda info: "refused" in info["reason"] and info)
        assert found["state"] == "incoming"
        assert "blob-key-refused" in stranger.log()
    assert source.control("take-back", name, "--yes")["handover"] == "ours"
    machine.qemu.reset()
    assert tpm(machine.qemu.data, STARTUP_CLEAR).hex() == SUCCESS


def test_a_place_is_kept_over_a_restart_and_given_up(target: Daemon) -> None:
    name, uuid = "place", "6f1f7f5e-0d0b-4b8e-9a53-2f5a44f3b007"
    made = incoming(target, "--uuid", uuid, name)
    target.restart()
    found = target.control("info", name)
    assert (found["state"], found["since"]) == ("incoming", made["since"])
    assert target.ctl("backup", name, "-").returncode == 7
    assert target.control("stop", name)["state"] == "stopped"
    assert target.ctl("rekey", name).returncode == 7
    assert target.control("start", name)["state"] == "incoming"
    assert target.control("delete", name, "--yes")["keys"] == []
