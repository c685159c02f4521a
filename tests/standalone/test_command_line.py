"""What vtpmd-swtpm says before it serves anything."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.standalone.process import PROGRAM, STARTED, Place, command, terminate
from tests.state_files import content_of
from tests.supervisor.harness import CMD_STORE_VOLATILE
from tests.worker.harness import connect, control


def test_capabilities_have_swtpms_shape() -> None:
    status, output, _ = command("socket", "--print-capabilities")
    capabilities = json.loads(output)
    assert status == 0
    assert capabilities["type"] == "swtpm"
    assert capabilities["version"]
    features = set(capabilities["features"])
    # What libvirt looks for, and what is no more than a claim if it is not true.
    assert {"tpm-2.0", "cmdarg-seccomp", "flags-opt-startup", "rsa-keysize-3072"} <= features
    assert not features & {"tpm-1.2", "cmdarg-pwd-fd", "cmdarg-key-fd", "nvram-backend-file"}


def test_version_names_both() -> None:
    for arguments in (["--version"], ["socket", "--version"]):
        assert command(*arguments)[:2] == (0, command("--version")[1])
    assert command("--version")[1].startswith("vtpmd-swtpm ")


def test_it_may_be_called_swtpm(tmp_path: Path) -> None:
    link = tmp_path / "swtpm"
    link.symlink_to(PROGRAM)
    done = subprocess.run([link, "socket", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: swtpm socket")
    assert "keyring" in done.stdout


def test_states_are_told_in_swtpms_words(place: Place) -> None:
    def stored(environment: Mapping[str, str] | None = None) -> dict[str, int]:
        where = [] if environment else ["--tpmstate", f"dir={place.state}"]
        told = json.loads(command("socket", "--print-states", *where, environment=environment)[1])
        assert set(told) == {"type", "states"}
        assert told["type"] == "swtpm"
        assert all(set(state) == {"name", "size"} for state in told["states"])
        return {state["name"]: state["size"] for state in told["states"]}

    assert stored() == {}
    terminate(place.serve())
    assert set(stored()) == {"permall"}
    assert stored()["permall"] == len(content_of(place.state / "nvram") or b"")
    assert os.path.exists(place.state / "volatile")  # but nothing is in it
    process = place.serve(*STARTED)
    with connect(place.control) as sock:
        assert control(sock, CMD_STORE_VOLATILE) == bytes(4)
    terminate(process)
    assert set(stored()) == {"permall", "volatilestate"}
    (place.state / "nvram").write_bytes(b"damaged")  # no reason to make a new TPM
    (place.state / "volatile").unlink()
    assert stored() == {"permall": 7}
    assert stored({"TPM_PATH": str(place.state)}) == {"permall": 7}
    place.state.chmod(0o775)
    assert stored() == {"permall": 7}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chardev"], "No such command 'chardev'"),
        (["socket", "--tpm2", "--bogus"], "No such option"),
        (["socket", "--tpmstate", "dir=/nowhere", "--server", "port=1"], "add --tpm2"),
        (["socket", "--tpm2", "--server", "port=1"], "--tpmstate dir=DIRECTORY is missing"),
        (["socket", "--tpm2", "--tpmstate", "dir=/nowhere"], "nobody could connect"),
        (["socket", "--tpm2", "--flags", "bogus"], "--flags: there is no 'bogus'"),
        (["socket", "--tpm2", "--key", "pwdfile=/p"], "--key is not possible: the state is always"),
        (["socket", "--tpm2", "--migration-key", "fd=3"], "--migration-key is not possible"),
        (["socket", "--tpm2", "extra"], "unexpected extra argument"),
    ],
)
def test_bad_command_lines(arguments: list[str], message: str) -> None:
    status, output, errors = command(*arguments, environment={"TPM_PATH": ""})
    assert (status, output) == (2, "")
    assert message in errors


def test_what_cannot_be_served_is_said(place: Place, tmp_path: Path) -> None:
    ready = ("--flags", "not-need-init")
    server = ("--server", f"type=unixio,path={place.data}")
    gone = ("--tpmstate", f"dir={tmp_path}/gone")
    assert f"cannot open directory {tmp_path}/gone" in place.refused(*gone, *server, *ready)
    elsewhere = ("--server", f"type=unixio,path={tmp_path}/gone/s")
    assert "No such file or directory" in place.refused(*elsewhere, *ready)
    nameless = ("--server", "port=2321,bindaddr=no.such.host.invalid")
    assert "bindaddr=no.such.host.invalid" in place.refused(*nameless, *ready)
    closed = ("--server", "fd=99")
    assert "descriptor 99 is no socket" in place.refused(*closed, *ready)
    pid = ("--pid", f"file={tmp_path}/gone/pid")
    assert f"{tmp_path}/gone/pid: No such file" in place.refused(*server, *ready, *pid)
    log = ("--log", f"file={tmp_path}/gone/log")
    assert f"{tmp_path}/gone/log: No such file" in place.refused(*server, *ready, *log)
    assert not place.data.exists(), "a start that failed leaves no socket behind"
