"""Several tools at once on one data socket: tpm2-abrmd in front gives each the TPM for itself."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.supervisor.conftest import daemon, root
from tests.supervisor.harness import Daemon

__all__ = ["daemon", "root"]

pytestmark = [
    pytest.mark.served,
    pytest.mark.skipif(
        any(shutil.which(it) is None for it in ("tpm2-abrmd", "dbus-run-session")),
        reason="tpm2-abrmd or dbus-run-session is not installed",
    ),
]
TOOLS = 3
# Each makes a key below a primary of its own: more objects together than the TPM has room for.
SESSION = r"""
tpm2-abrmd --session --allow-root --tcti "swtpm:path=$1" & broker=$!
export TPM2TOOLS_TCTI=tabrmd:bus_type=session
until tpm2_getrandom -o ready 8 2>/dev/null; do kill -0 $broker || exit 1; done
tool() {
    tpm2_createprimary -Q -C o -G ecc -c "$1.primary" &&
    tpm2_create -Q -C "$1.primary" -G ecc -u "$1.pub" -r "$1.priv" &&
    tpm2_load -Q -C "$1.primary" -u "$1.pub" -r "$1.priv" -c "$1.key" &&
    echo "$1" | tpm2_sign -Q -c "$1.key" -g sha256 -o "$1.signature" &&
    echo "$1" >"$1.message" &&
    tpm2_verifysignature -Q -c "$1.key" -g sha256 -m "$1.message" -s "$1.signature" &&
    echo "tool $1 is done"
}
for number in $(seq $2); do tool $number & tools="$tools $!"; done
wait $tools
tpm2_getcap handles-transient
kill $broker; wait $broker 2>/dev/null
exit 0
"""


def test_tools_side_by_side_do_not_disturb_each_other(daemon: Daemon, tmp_path: Path) -> None:
    made = daemon.control("create", "web1")
    done = subprocess.run(
        ["dbus-run-session", "--", "bash", "-c", SESSION, "-", made["data_socket"], str(TOOLS)],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert {f"tool {number} is done" for number in range(1, TOOLS + 1)} <= set(lines), done.stderr
    assert lines[-1].startswith("tool")  # nothing of anybody's is left in the TPM
