"""Debian's unmodified swtpm_setup, which finds vtpmd-swtpm under the name of swtpm."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.standalone.process import PROGRAM, STARTED, Place, terminate
from tests.standalone.test_serving import tool
from tests.state_files import envelope_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("swtpm_setup"), reason="swtpm_setup is not installed"),
]

EVERYTHING = ("--createek", "--create-ek-cert", "--create-platform-cert", "--lock-nvram")
RSA_CERTIFICATE, PLATFORM_CERTIFICATE, ECC_CERTIFICATE = "0x1c00002", "0x1c08000", "0x1c00016"


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """swtpm_setup's configuration with an authority of its own, and swtpm on the PATH."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "swtpm").symlink_to(PROGRAM)
    authority = tmp_path / "localca"
    authority.mkdir()
    (tmp_path / "localca.conf").write_text(
        f"statedir = {authority}\n"
        f"signingkey = {authority}/signkey.pem\n"
        f"issuercert = {authority}/issuercert.pem\n"
        f"certserial = {authority}/certserial\n"
    )
    (tmp_path / "localca.options").write_text(
        "--platform-manufacturer Test\n--platform-version 1\n--platform-model Test\n"
    )
    file = tmp_path / "setup.conf"
    file.write_text(
        "create_certs_tool = /usr/bin/swtpm_localca\n"
        f"create_certs_tool_config = {tmp_path}/localca.conf\n"
        f"create_certs_tool_options = {tmp_path}/localca.options\n"
    )
    return file


def set_up(place: Place, configuration: Path, *arguments: str) -> tuple[int, str]:
    """Run swtpm_setup; its exit status, and what it and the TPM have logged."""
    place.log.unlink(missing_ok=True)
    path = f"{configuration.parent / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        [
            *("swtpm_setup", "--tpm2", "--tpmstate", str(place.state)),
            *("--config", str(configuration), "--logfile", str(place.log), *arguments),
            *(("--runas", "root") if os.geteuid() == 0 else ()),
        ],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    logged = place.log.read_text() if place.log.exists() else ""
    return done.returncode, done.stdout + done.stderr + logged


def banks(place: Place) -> str:
    return " ".join(tool(f"swtpm:path={place.data}", "getcap pcrs").split())


def test_a_tpm_with_everything(place: Place, configuration: Path) -> None:
    status, said = set_up(place, configuration, *EVERYTHING, "--pcr-banks", "sha256,sha384")
    assert status == 0, said
    place.serve(*STARTED)
    tcti = f"swtpm:path={place.data}"
    persistent = tool(tcti, "getcap handles-persistent")
    assert persistent.split() == ["-", "0x81010001", "-", "0x81010016"]
    indices = tool(tcti, "getcap handles-nv-index").lower()
    for index in (RSA_CERTIFICATE, PLATFORM_CERTIFICATE, ECC_CERTIFICATE):
        assert index in indices
        assert "writelocked" in tool(tcti, f"nvreadpublic {index}")
    assert "sha1: [ ]" in banks(place)
    assert "sha256: [ 0, 1" in banks(place)
    certificate = place.directory / "ek.der"
    tool(tcti, f"nvread {RSA_CERTIFICATE} -C o -o {certificate}")
    issuer = configuration.parent / "localca" / "issuercert.pem"
    root = configuration.parent / "localca" / "swtpm-localca-rootca-cert.pem"
    ek = place.directory / "ek.pem"
    judged = subprocess.run(
        [
            *("openssl", "verify", "-CAfile", root, "-untrusted", issuer),
            *("-ignore_critical", _as_pem(certificate)),
        ],
        capture_output=True,
        text=True,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr
    tool(tcti, f"readpublic -Q -c 0x81010001 -f pem -o {ek}")
    assert ek.read_text() == _output("x509", "-inform", "der", "-in", certificate, "-pubkey")


def _as_pem(certificate: Path) -> Path:
    file = certificate.with_suffix(".pem")
    pem = _output("x509", "-inform", "der", "-in", certificate, "-pubkey", keep=True)
    file.write_text(pem[pem.index("-----BEGIN CERTIFICATE") :])
    return file


def _output(*arguments: str | Path, keep: bool = False) -> str:
    less = () if keep else ("-noout",)
    return subprocess.run(
        ["openssl", *arguments, *less], capture_output=True, text=True, check=True
    ).stdout


def test_overwrite_makes_a_new_tpm_and_nothing_else_does(place: Place, configuration: Path) -> None:
    nvram, former = place.state / "nvram", place.state / "nvram.replaced"
    status, said = set_up(place, configuration, "--createek", "--pcr-banks", "sha256")
    assert status == 0, said
    first = envelope_of(nvram).header.uuid
    stored = nvram.read_bytes()
    status, said = set_up(place, configuration, "--createek")
    assert status == 1
    assert "Found existing TPM state 'permall'" in said
    assert set_up(place, configuration, "--createek", "--not-overwrite")[0] == 0
    assert nvram.read_bytes() == stored
    status, said = set_up(place, configuration, "--reconfigure", "--pcr-banks", "sha384")
    assert status == 0, said
    assert envelope_of(nvram).header.uuid == first
    assert not former.exists()
    status, said = set_up(place, configuration, "--createek", "--overwrite")
    assert status == 0, said
    assert "state-replaced" in said
    assert envelope_of(nvram).header.uuid != first
    former.replace(nvram)  # nothing is lost that somebody still wants
    (place.state / "volatile").unlink()
    (place.state / "incoming").unlink()
    assert envelope_of(nvram).header.uuid == first
    place.serve(*STARTED)
    assert "sha384: [ 0, 1" in banks(place)


def test_what_a_set_up_that_fails_has_begun_is_not_served(
    place: Place, configuration: Path
) -> None:
    """The next one begins with another TPM, as with swtpm."""
    broken = configuration.parent / "localca.conf"
    working = broken.read_text()
    broken.write_text("")
    assert set_up(place, configuration, *EVERYTHING)[0] == 1
    half = envelope_of(place.state / "nvram").header.uuid
    broken.write_text(working)
    status, said = set_up(place, configuration, *EVERYTHING, "--overwrite")
    assert status == 0, said
    assert envelope_of(place.state / "nvram").header.uuid != half


def test_who_lost_the_mark_loses_no_tpm(place: Place, configuration: Path) -> None:
    """Only who sets a TPM up gets another one: not a machine whose TPM was copied without it."""
    assert set_up(place, configuration)[0] == 0
    first = envelope_of(place.state / "nvram").header.uuid
    mark = place.state / "tpm2-00.permall"
    mark.unlink()
    terminate(place.serve(*STARTED))
    assert mark.exists()
    assert envelope_of(place.state / "nvram").header.uuid == first


def test_swtpm_itself_refuses_the_directory(place: Place) -> None:
    """It would make a TPM of its own in an empty one."""
    terminate(place.serve(*STARTED))
    before = {path.name: path.read_bytes() for path in place.state.iterdir()}
    done = subprocess.run(
        [
            *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={place.state}"),
            *("--server", f"type=unixio,path={place.data}", "--flags", "not-need-init"),
        ],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode != 0
    after = {path.name: path.read_bytes() for path in place.state.iterdir()}
    assert {name: after[name] for name in before} == before
