"""Restore with the real daemon: what comes back, what does not, and what is left alone."""

import shutil
from dataclasses import replace
from pathlib import Path

from tests.state_files import content_of, envelope_of, put
from tests.supervisor.harness import (
    CMD_STORE_VOLATILE,
    STARTUP_CLEAR,
    Daemon,
    control,
    execute,
    power_on,
    running,
)


def test_an_existing_instance_is_replaced_only_when_asked(daemon: Daemon, tmp_path: Path) -> None:
    file = str(tmp_path / "file")
    info = daemon.control("create", "web1")
    daemon.control("backup", "web1", file)
    power_on(info)
    assert execute(info, STARTUP_CLEAR)[0] == 0
    assert control(info, CMD_STORE_VOLATILE) == bytes(4)
    nvram = daemon.state / "instances" / info["uuid"] / "tpm" / "nvram"
    later = nvram.read_bytes()
    refused = daemon.ctl("restore", file)
    assert (refused.returncode, "exists here as web1" in refused.stderr) == (6, True)
    assert daemon.ctl("restore", file, "--name", "web2").returncode == 6
    assert daemon.ctl("restore", file, "--replace").returncode == 7  # it is running
    generation = daemon.control("info", "web1")["worker"]["generation"]
    daemon.control("stop", "web1")
    assert nvram.read_bytes() != later  # an orderly shutdown was stored
    unconfirmed = daemon.ctl("restore", file, "--replace")
    assert unconfirmed.returncode == 11
    assert "(generation 2, epoch 0)" in unconfirmed.stderr
    assert f"(generation {generation + 1}, epoch 0)" in unconfirmed.stderr
    restored = daemon.control("restore", file, "--replace", "--yes", "--start")
    assert (restored["state"], restored["rollback"]) == ("running", "")
    assert restored["worker"]["generation"] <= generation
    assert restored["worker"]["epoch"] == 1
    assert content_of(nvram.with_name("volatile")) is None
    assert b"state-replaced" in daemon.log_file.read_bytes()
    assert len(list((daemon.state / "instances").iterdir())) == 1
    daemon.restart()
    assert daemon.control("info", "web1")["state"] == "running"


def test_a_failed_instance_is_mended_by_its_backup(daemon: Daemon, tmp_path: Path) -> None:
    file = str(tmp_path / "file")
    info = daemon.control("create", "web1", "--no-start")
    daemon.control("backup", "web1", file)
    directory = daemon.state / "instances" / info["uuid"]
    (directory / "meta.json").write_text("{")
    (directory / "tpm" / "nvram").unlink()
    daemon.restart()
    assert daemon.ctl("backup", info["uuid"], str(tmp_path / "x")).returncode == 9
    restored = daemon.control("restore", file, "--replace", "--yes", "--start")
    assert (restored["name"], restored["state"]) == ("web1", "running")


def test_names_of_other_instances_are_theirs(daemon: Daemon, tmp_path: Path) -> None:
    file = str(tmp_path / "file")
    daemon.control("create", "web1", "--no-start")
    daemon.control("backup", "web1", file)
    daemon.control("delete", "web1", "--yes")
    other = daemon.control("create", "web1", "--no-start")
    assert daemon.ctl("restore", file, "--replace", "--yes").returncode == 6
    assert daemon.ctl("restore", file, "--name", "../x").returncode == 2
    assert daemon.control("restore", file, "--name", "web2")["name"] == "web2"
    assert daemon.control("info", "web1")["uuid"] == other["uuid"]


def test_without_its_key_it_is_there_but_locked(root: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "file")
    (root / "a").mkdir()
    (root / "b").mkdir()
    with running(root / "a") as first, running(root / "b") as second:
        first.control("create", "web1", "--no-start")
        first.control("backup", "web1", file)
        info = second.control("restore", file)
        assert info["state"] == "locked"
        assert "is not in the keyring" in info["reason"]
        assert second.ctl("unlock", "web1").returncode == 8
        assert second.ctl("start", "web1").returncode == 8
        shutil.copy(first.state / "keyring", second.state / "keyring")
        assert second.control("unlock", "web1")["state"] == "running"  # start had asked for it


def test_a_damaged_state_is_refused_before_anything_is_replaced(
    daemon: Daemon, tmp_path: Path
) -> None:
    """The envelope is of the right form and names the right DEK, but its seal is broken."""
    info = daemon.control("create", "web1", "--no-start")
    daemon.control("backup", "web1", str(tmp_path / "good"))
    nvram = daemon.state / "instances" / info["uuid"] / "tpm" / "nvram"
    good = nvram.read_bytes()
    envelope = envelope_of(nvram)
    ciphertext = bytes([envelope._ciphertext[0] ^ 1]) + envelope._ciphertext[1:]
    put(nvram, replace(envelope, _ciphertext=ciphertext).replace_slots(envelope.slots))
    daemon.control("backup", "web1", str(tmp_path / "bad"))
    nvram.write_bytes(good)
    result = daemon.ctl("restore", str(tmp_path / "bad"), "--replace", "--yes")
    assert result.returncode == 9
    assert nvram.read_bytes() == good
    assert daemon.control("start", "web1")["state"] == "running"
    daemon.control("stop", "web1")
    daemon.control("delete", "web1", "--yes")
    assert daemon.ctl("restore", str(tmp_path / "bad")).returncode == 9
    assert list((daemon.state / "instances").iterdir()) == []


def test_what_is_no_bundle_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"hello")
    result = daemon.ctl("restore", str(file))
    assert result.returncode == 12
    assert "not a tar archive" in result.stderr
    file.write_bytes(bytes((8 << 20) + 1))
    assert daemon.ctl("restore", str(file)).returncode == 13
    assert daemon.ctl("restore", str(tmp_path / "absent")).returncode == 13
    assert daemon.control("list") == {"instances": []}
