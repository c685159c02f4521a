"""An instance with a data socket is on for whoever connects, as tpm2-tools expect."""

import os
import shutil
import signal
import subprocess

import pytest

from tests.supervisor.harness import Daemon


@pytest.mark.skipif(shutil.which("tpm2") is None, reason="tpm2-tools are not installed")
def test_tpm2_tools_need_nobody_to_power_it_on(daemon: Daemon) -> None:
    made = daemon.control("create", "lab", "--data-socket")
    environment = {"TPM2TOOLS_TCTI": f"swtpm:path={made['data_socket']}", "PATH": "/usr/bin:/bin"}
    drawn = subprocess.run(
        ["tpm2", "getrandom", "--hex", "16"], env=environment, capture_output=True, check=True
    )
    assert len(bytes.fromhex(drawn.stdout.decode())) == 16


def test_what_has_lost_its_power_while_no_daemon_was_there_stays_off(daemon: Daemon) -> None:
    """Its PCRs are empty, which somebody has to know of: as after any other crash."""
    made = daemon.control("create", "lab", "--data-socket")
    assert made["worker"]["tpm"] == "on"
    daemon.end()
    ended = os.pidfd_open(made["worker"]["pid"])
    signal.pidfd_send_signal(ended, signal.SIGKILL)
    os.close(ended)
    daemon.start()
    found = daemon.until("lab", lambda info: info if info["state"] == "running" else None)
    assert found["worker"]["tpm"] == "off"
    assert "ended while no daemon was there; its TPM is off" in found["reason"]
    daemon.control("stop", "lab")
    assert daemon.control("start", "lab")["worker"]["tpm"] == "on"
