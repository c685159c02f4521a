"""Backup with the real daemon: of a running TPM, and never over another file."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.machine import INDEX_SIZE, Machine
from tests.peers.vtpmd import Vtpmd
from tests.supervisor.harness import (
    Daemon,
)

CONTENT = b"\x42" * INDEX_SIZE


@pytest.fixture
def host(short_path: Path) -> Iterator[Vtpmd]:
    daemon = Vtpmd(short_path)
    yield daemon
    daemon.close()


def test_a_running_tpm_is_saved_and_comes_back(host: Vtpmd, tmp_path: Path) -> None:
    instance, file = host.create("web1"), tmp_path / "web1.tar"
    with Machine(instance) as machine:
        machine.define_indices()
        machine.write(CONTENT)
        host.control("backup", "web1", str(file))
        machine.write(bytes(INDEX_SIZE))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    instance.stop()
    host.control("delete", "web1", "--yes")
    info = host.control("restore", str(file))
    assert (info["name"], info["uuid"]) == ("web1", instance.directory.name)
    assert (info["state"], info["autostart"]) == ("stopped", False)
    host.control("start", "web1")
    with Machine(instance) as machine:
        assert machine.read() == CONTENT


def test_an_existing_file_is_not_overwritten(daemon: Daemon, tmp_path: Path) -> None:
    daemon.control("create", "web1", "--no-start")
    file = tmp_path / "precious"
    file.write_text("precious")
    assert daemon.ctl("backup", "web1", str(file)).returncode == 13
    assert daemon.ctl("backup", "web1", str(tmp_path / "no" / "file")).returncode == 13
    assert file.read_text() == "precious"
