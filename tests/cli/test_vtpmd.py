"""vtpmd's own command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.supervisor.harness import running
from vtpmd.api import names


def vtpmd(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vtpmd.cli.vtpmd", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_version_and_help() -> None:
    assert vtpmd("--version").stdout == "vtpmd 0.1.0\n"
    shown = vtpmd("--help").stdout
    for status in (
        names.DAEMON_EXIT_FAILED,
        names.DAEMON_EXIT_BUSY,
        names.DAEMON_EXIT_CONFIGURATION,
    ):
        assert f"  {status}  " in shown


@pytest.mark.parametrize("command", [[], ["check-config"]])
def test_every_problem_of_the_configuration_is_told(tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "vtpmd.yaml"
    file.write_text("sandbox: perhaps\nstate_dir: relative\n")
    result = vtpmd("--config", file, *command)
    assert result.returncode == names.DAEMON_EXIT_CONFIGURATION
    lines = result.stderr.splitlines()
    assert [line.split(": ")[2] for line in lines] == ["sandbox", "state_dir"]
    assert lines[0].startswith(f"vtpmd: {file}:1: ")


@pytest.mark.parametrize("default", ["profile: fips", "pcr_banks: [md5]"])
def test_a_default_that_no_tpm_can_have_is_told(short_path: Path, default: str) -> None:
    file = short_path / "vtpmd.yaml"
    file.write_text(
        f"state_dir: {short_path}/s\nruntime_dir: {short_path}/r\ndefaults: {{{default}}}\n"
    )
    for command in ([], ["check-config"]):
        result = vtpmd("--config", file, *command)
        assert result.returncode == 78
        told = f"defaults.{default.partition(':')[0]}: the p"
        assert told in result.stderr.replace("the P", "the p")


def test_an_unknown_type_of_key_provider_is_told(tmp_path: Path) -> None:
    file = tmp_path / "vtpmd.yaml"
    file.write_text("key_providers: [{type: acme, name: a}]\n")
    result = vtpmd("--config", file, "check-config")
    assert result.returncode == names.DAEMON_EXIT_CONFIGURATION
    assert "there is no type 'acme'" in result.stderr


def test_a_good_configuration_is_said_to_be_so(tmp_path: Path) -> None:
    file = tmp_path / "vtpmd.yaml"
    file.write_text(f"state_dir: {tmp_path}/state\n")
    result = vtpmd("--config", file, "check-config")
    assert (result.returncode, result.stdout) == (0, f"{file}: no problems found\n")
    assert list(tmp_path.iterdir()) == [file]  # nothing was made


def test_a_provider_in_use_cannot_leave_the_configuration_unnoticed(root: Path) -> None:
    with running(root) as daemon:
        for name in ("web1", "web2"):
            daemon.control("create", name, "--no-start")
    file = daemon.configuration
    assert vtpmd("--config", file, "check-config").returncode == 0
    file.write_text(f"{file.read_text()}\nkey_providers: []\n")
    result = vtpmd("--config", file, "check-config")
    assert result.returncode == names.DAEMON_EXIT_CONFIGURATION
    assert "key_providers: local is not configured, but holds the keys of web" in result.stderr
    daemon.start()
    assert {info["state"] for info in daemon.control("list")["instances"]} == {"locked"}
    assert b"key-provider-not-configured" in daemon.log_file.read_bytes()
    assert daemon.ctl("unlock", "--all").returncode == 8
    daemon.end()


def test_a_state_directory_that_cannot_be_had_is_told(short_path: Path) -> None:
    (short_path / "state").write_text("a file")
    file = short_path / "vtpmd.yaml"
    file.write_text(f"state_dir: {short_path}/state\nruntime_dir: {short_path}/run\n")
    result = vtpmd("--config", file)
    assert result.returncode == names.DAEMON_EXIT_FAILED
    assert str(short_path / "state") in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("place", ["state", "run", "run/workers"])
@pytest.mark.parametrize("fault", ["foreign", "group", "world"])
def test_a_directory_that_others_may_write_to_is_refused(
    short_path: Path, place: str, fault: str
) -> None:
    """They could put a file, the daemon's socket or a worker of their own in its place."""
    (short_path / "run").mkdir(mode=0o755)
    directory = short_path / place
    directory.mkdir(mode=0o700, exist_ok=True)
    match fault:
        case "foreign":
            if os.geteuid() != 0:
                pytest.skip("only root can give a directory away")
            os.chown(directory, 65534, -1)
            remedy = "belongs to user 65534, neither to this user nor to root; give it to one"
        case "group":
            directory.chmod(0o770)
            remedy = "has mode 0770; take 0020 away with chmod"
        case _:
            directory.chmod(0o1777)
            remedy = "has mode 1777; take 0022 away with chmod"
    file = short_path / "vtpmd.yaml"
    file.write_text(f"state_dir: {short_path}/state\nruntime_dir: {short_path}/run\n")
    result = vtpmd("--config", file)
    assert result.returncode == names.DAEMON_EXIT_FAILED
    assert f"{directory} {remedy}" in result.stderr
    assert not (short_path / "run/admin.sock").exists()


def test_text_of_others_is_escaped_when_the_daemon_refuses(short_path: Path) -> None:
    file = short_path / "vtpmd\x1b[2J\n.yaml"
    result = vtpmd("--config", file)
    assert result.returncode == names.DAEMON_EXIT_CONFIGURATION
    assert r"vtpmd\x1b[2J\n.yaml" in result.stderr
    assert "\x1b" not in result.stderr


def test_check_config_tells_every_fault_and_looks_at_the_files(tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    there = tmp_path / "ca.pem"
    there.write_text("a certificate")
    file.write_text(
        f"state_dir: {tmp_path}/state\nlog: {{levle: info}}\ndefaults: {{profile: foo}}\n"
        f"key_providers:\n  - type: kmip\n    name: dc\n    host: kms\n    ca: {there}\n"
        f"    certificate: {tmp_path}/absent.pem\n    key: /run/credentials/vtpmd.service/key\n"
    )
    for option in ([], ["--config"]):
        result = vtpmd("--config", "/nonexistent", "check-config", *option, file)
        assert result.returncode == names.DAEMON_EXIT_CONFIGURATION
        lines = [line.removeprefix(f"vtpmd: {file}:") for line in result.stderr.splitlines()]
        assert [line for line in lines if "default-v1" not in line] == [
            "2: log.levle: unknown setting levle; did you mean level?",
            f"9: key_providers.0.certificate: {tmp_path}/absent.pem: No such file or directory",
        ]
        assert lines[1].startswith("3: defaults.profile: the profiles are default-v1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_check_config_reads_files_as_the_daemon_s_user(short_path: Path) -> None:
    short_path.chmod(0o755)
    state, secret, file = short_path / "state", short_path / "ca", short_path / "vtpmd.yaml"
    state.mkdir(mode=0o700)
    secret.write_text("a certificate")
    secret.chmod(0o600)
    file.write_text(f"state_dir: {state}\nidentity: {{roots: {secret}}}\n")
    assert vtpmd("check-config", file).returncode == 0
    os.chown(state, 65534, 65534)
    result = vtpmd("check-config", file)
    assert result.returncode == names.DAEMON_EXIT_CONFIGURATION
    assert result.stderr == f"vtpmd: {file}:2: identity.roots: {secret}: Permission denied\n"
