"""Key providers as administrators see them: listed, rotated, saved and restored."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.harness import DEADLINE, Daemon, running

PASSPHRASE = "correct horse battery"
STRICT = """
key_providers: [{type: local, name: local, require_backup: true}]
audit: {file: %s, reads: false}
"""


def with_passphrase(
    daemon: Daemon, *arguments: str, passphrase: str = PASSPHRASE, text: bool = True
) -> subprocess.CompletedProcess[Any]:
    """vtpmctl with the passphrase in a pipe."""
    reader, writer = os.pipe()
    os.write(writer, passphrase.encode() + b"\n")
    os.close(writer)
    command = [sys.executable, "-m", "vtpmd.cli.vtpmctl", "--socket"]
    command += [str(daemon.runtime / "admin.sock"), *arguments, "--passphrase-fd", str(reader)]
    try:
        return subprocess.run(
            command, pass_fds=[reader], capture_output=True, text=text, timeout=DEADLINE
        )
    finally:
        os.close(reader)


def test_no_tpm_is_made_before_the_keys_are_saved(root: Path, tmp_path: Path) -> None:
    audit = root / "audit.json"
    with running(root, STRICT % audit) as daemon:
        assert "has not been saved" in daemon.control("capabilities")["create"]
        refused = daemon.ctl("create", "web1")
        assert refused.returncode == 8
        assert "vtpmctl provider backup local FILE" in refused.stderr
        file = tmp_path / "keys"
        saved = with_passphrase(daemon, "provider", "backup", "local", str(file))
        assert saved.returncode == 0, saved.stderr
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert daemon.control("create", "web1")["state"] == "running"
        daemon.control("provider", "rotate", "local")
        assert daemon.ctl("rekey", "web1").returncode == 8  # the new key is not saved
        assert daemon.ctl("create", "web2").returncode == 8
        with_passphrase(daemon, "provider", "backup", "local", str(tmp_path / "keys2"))
        assert daemon.control("rekey", "web1")["changed"] is True
        recorded = audit.read_text()
        assert stat.S_IMODE(audit.stat().st_mode) == 0o600
        assert recorded.count('"verb": "provider backup"') == 4
        assert '"verb": "info"' not in recorded
        for text in (recorded, daemon.log(), saved.stdout):
            assert PASSPHRASE not in text


def test_a_backup_that_could_not_be_written_does_not_count(root: Path, tmp_path: Path) -> None:
    with running(root, STRICT % (root / "audit")) as daemon:
        result = with_passphrase(daemon, "provider", "backup", "local", str(tmp_path / "no" / "f"))
        assert result.returncode == 13
        assert daemon.ctl("create", "web1").returncode == 8


def test_keys_saved_to_a_pipe_are_nothing_but_the_keys(daemon: Daemon, tmp_path: Path) -> None:
    saved = with_passphrase(daemon, "provider", "backup", "local", "-", text=False)
    assert saved.returncode == 0, saved.stderr
    (tmp_path / "keys").write_bytes(saved.stdout)
    done = with_passphrase(daemon, "provider", "import", "local", str(tmp_path / "keys"))
    assert done.stdout.startswith("0 key(s) were added"), done.stderr


def test_another_host_opens_what_it_has_the_keys_of(root: Path, tmp_path: Path) -> None:
    keys, bundle = str(tmp_path / "keys"), str(tmp_path / "bundle")
    (root / "a").mkdir()
    (root / "b").mkdir()
    with running(root / "a") as first, running(root / "b") as second:
        first.control("create", "web1", "--no-start")
        first.control("backup", "web1", bundle)
        assert with_passphrase(first, "provider", "backup", "local", keys).returncode == 0
        assert second.control("restore", bundle)["state"] == "locked"
        wrong = with_passphrase(second, "provider", "import", "local", keys, passphrase="x" * 20)
        assert wrong.returncode == 12
        assert "passphrase is wrong" in wrong.stderr
        own = second.control("provider", "list")["providers"][0]["description"]["versions"]
        done = with_passphrase(second, "provider", "import", "local", keys, "--json")
        assert done.returncode == 0, done.stderr
        listed = second.control("provider", "list")["providers"][0]["description"]["versions"]
        assert {each["id"] for each in own} < {each["id"] for each in listed}
        active = [each["id"] for each in listed if each["state"] == "active"]
        assert active == [own[0]["id"]]
        assert second.control("unlock", "web1")["state"] == "stopped"
        assert second.control("start", "web1")["state"] == "running"
        assert second.control("rekey", "web1")["keys"][0]["key_version"] == active[0]


def test_a_lost_keyring_comes_back(daemon: Daemon, tmp_path: Path) -> None:
    daemon.control("create", "web1")
    daemon.control("stop", "web1")
    keys = str(tmp_path / "keys")
    with_passphrase(daemon, "provider", "backup", "local", keys)
    (daemon.state / "keyring").unlink()
    assert daemon.ctl("start", "web1").returncode == 8
    assert with_passphrase(daemon, "provider", "import", "local", keys).returncode == 0
    assert daemon.control("unlock", "web1")["state"] == "running"
    assert daemon.control("create", "web2")["state"] == "running"


@pytest.mark.parametrize(
    ("arguments", "passphrase", "status"),
    [
        (["backup", "local", "FILE"], "short", 12),
        (["backup", "local", "FILE"], "", 12),
        (["backup", "local", "FILE"], "x" * 1025, 2),
        (["backup", "absent", "FILE"], PASSPHRASE, 5),
        (["import", "local", "GARBAGE"], PASSPHRASE, 12),
        (["import", "local", "FILE"], PASSPHRASE, 13),
    ],
)
def test_what_is_refused_changes_nothing(
    daemon: Daemon, tmp_path: Path, arguments: list[str], passphrase: str, status: int
) -> None:
    keyring = (daemon.state / "keyring").read_bytes()
    (tmp_path / "GARBAGE").write_bytes(b"\xa1\x61x\x01")
    *words, file = arguments
    result = with_passphrase(
        daemon, "provider", *words, str(tmp_path / file), passphrase=passphrase
    )
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    assert (daemon.state / "keyring").read_bytes() == keyring
    assert not (tmp_path / "FILE").exists()


def test_the_list_tells_who_needs_whom(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    (provider,) = daemon.control("provider", "list")["providers"]
    assert (provider["instances"], provider["default"], provider["recovery"]) == (1, True, False)
    shutil.rmtree(daemon.state / "nothing", ignore_errors=True)
    daemon.end()
    text = daemon.configuration.read_text()
    daemon.configuration.write_text(text + "\nkey_providers: [{type: local, name: other}]\n")
    daemon.start()
    assert daemon.control("provider", "list")["not_configured"] == ["local"]
    shown = daemon.ctl("provider", "list").stdout
    assert "not configured, but needed" in shown
    assert daemon.ctl("provider", "rotate", "absent").returncode == 5
