"""An instance with a data socket is on for whoever connects, as tpm2-tools expect."""

import shutil
import subprocess

import pytest

from tests.supervisor.harness import Daemon


@pytest.mark.skipif(shutil.which("tpm2") is None, reason="tpm2-tools are not installed")
def test_tpm2_tools_need_nobody_to_power_it_on(daemon: Daemon) -> None:
    made = daemon.json("create", "lab", "--data-socket")
    environment = {"TPM2TOOLS_TCTI": f"swtpm:path={made['data_socket']}", "PATH": "/usr/bin:/bin"}
    drawn = subprocess.run(
        ["tpm2", "getrandom", "--hex", "16"], env=environment, capture_output=True, check=True
    )
    assert len(bytes.fromhex(drawn.stdout.decode())) == 16
