"""The service unit, as far as systemd's own tools can judge it offline."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vtpmd.api import names

UNITS = Path(__file__).parents[1] / "systemd"
MAX_EXPOSURE = 1.5

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
def test_the_unit_is_confined() -> None:
    report = _analyze("security", "--offline=yes", "--no-pager", UNITS / "vtpmd.service")
    exposure = re.search(r"exposure level for vtpmd\.service: ([0-9.]+)", report)
    assert exposure is not None, report
    assert float(exposure.group(1)) <= MAX_EXPOSURE


def test_exit_statuses_that_a_restart_cannot_mend_prevent_one() -> None:
    unit = (UNITS / "vtpmd.service").read_text()
    (line,) = re.findall(r"^RestartPreventExitStatus=(.*)$", unit, re.MULTILINE)
    wanted = {names.DAEMON_EXIT_BUSY, names.DAEMON_EXIT_CONFIGURATION}
    assert set(map(int, line.split())) == wanted


def test_workers_survive_a_restart_and_can_be_found_again() -> None:
    unit = (UNITS / "vtpmd.service").read_text()
    assert "KillMode=process" in unit
    assert "RuntimeDirectoryPreserve=yes" in unit
