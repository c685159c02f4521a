"""The service unit, as far as systemd's own tools can judge it offline."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vtpmd.api import names

UNITS = Path(__file__).parents[1] / "systemd"
MAX_EXPOSURE = 1.5
ACCEPTED = {
    "SystemCallFilter=~@privileged": "sockets are given to the group of QEMU (chown)",
    "RootDirectory=/RootImage=": "the interpreter, libraries and PKCS#11 modules are the host's",
    "RestrictAddressFamilies=~AF_UNIX": "admin socket, control channels, credentials, notify",
    "RestrictAddressFamilies=~AF_(INET|INET6)": "key services are in the network",
    "PrivateNetwork=": "key services are in the network",
    "IPAddressDeny=": "where key services are only the administrator knows: README.md",
    "PrivateUsers=": "the admin socket tells users apart by their UIDs",
    "ProcSubset=": "which boot of the host serves an instance: /proc/sys/kernel/random/boot_id",
    "ProtectProc=": "how much memory workers use, which are no process of the daemon's to /proc",
    "DeviceAllow=": "from ProtectClock=: char-rtc to read, of which PrivateDevices= has no node",
}
"""What systemd-analyze names and stays so, and why. Workers have none of it: their own sandbox."""

analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def _analyze(*arguments: str | Path) -> str:
    result = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return result.stdout + result.stderr


@analyze
def test_the_unit_is_valid() -> None:
    complaints = [
        line
        for line in _analyze("verify", UNITS / "vtpmd.service").splitlines()
        if "vtpmd.service" in line and "is not executable" not in line  # not installed here
    ]
    assert complaints == []


@analyze
def test_a_machine_of_the_example_is_a_valid_unit_that_wants_the_daemon(tmp_path: Path) -> None:
    template = UNITS.parent / "examples/systemd/qemu@.service"
    unit = tmp_path / "qemu@web1.service"
    unit.write_text(template.read_text())
    complaints = [
        line
        for line in _analyze("verify", unit).splitlines()
        if unit.name in line and "is not executable" not in line  # not installed here
    ]
    assert complaints == []
    assert "Wants=vtpmd.service\nAfter=vtpmd.service" in unit.read_text()


@analyze
def test_the_unit_is_confined() -> None:
    report = _analyze("security", "--offline=yes", "--no-pager", UNITS / "vtpmd.service")
    exposure = re.search(r"exposure level for vtpmd\.service: ([0-9.]+)", report)
    assert exposure is not None, report
    assert float(exposure.group(1)) <= MAX_EXPOSURE


@analyze
def test_what_is_not_confined_is_known_and_has_a_reason() -> None:
    report = _analyze("security", "--offline=yes", "--no-pager", UNITS / "vtpmd.service")
    assert set(re.findall("^✗ (\\S+)", report, re.MULTILINE)) == ACCEPTED.keys()


def _setting(name: str) -> str:
    unit = (UNITS / "vtpmd.service").read_text()
    (value,) = re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)
    return str(value)


def test_a_worker_is_ended_before_the_daemon_and_the_daemon_goes_on() -> None:
    """The zygote raises its own score, and that of the workers, by 500: to that of QEMU."""
    assert int(_setting("OOMScoreAdjust")) == -500
    assert _setting("OOMPolicy") == "continue"
    high, most = (int(_setting(name).removesuffix("%")) for name in ("MemoryHigh", "MemoryMax"))
    assert 0 < high < most < 100
    assert _setting("MemorySwapMax") == "0"


def test_exit_statuses_that_a_restart_cannot_mend_prevent_one() -> None:
    unit = (UNITS / "vtpmd.service").read_text()
    (line,) = re.findall(r"^RestartPreventExitStatus=(.*)$", unit, re.MULTILINE)
    wanted = {names.DAEMON_EXIT_BUSY, names.DAEMON_EXIT_CONFIGURATION}
    assert set(map(int, line.split())) == wanted


def test_workers_survive_a_restart_and_can_be_found_again() -> None:
    unit = (UNITS / "vtpmd.service").read_text()
    assert "KillMode=process" in unit
    assert "RuntimeDirectoryPreserve=yes" in unit
