"""What the daemon's processes have and show, whoever started them and however."""

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers.vtpmd import Vtpmd

ASK = """
import json, sys
from vtpmd.config.schema import Configuration
from vtpmd.linux.kernel import prctl
from vtpmd.storage.errors import StorageError
from vtpmd import daemon

try:
    configuration = Configuration.model_validate(json.loads(sys.argv[1]))
    daemon.run(configuration, lambda: configuration)
except StorageError:
    print("ended, dumpable:", prctl(3))  # PR_GET_DUMPABLE
"""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_nobody_may_look_into_the_daemon_before_it_knows_a_secret(short_path: Path) -> None:
    """Not even a process of the same user, which root's tests cannot show from outside."""
    (short_path / "state").write_text("in the way of the directory")
    settings = {"state_dir": f"{short_path}/state", "runtime_dir": f"{short_path}/run"}
    asked = [sys.executable, "-c", ASK, json.dumps(settings)]
    assert subprocess.check_output(asked, text=True) == "ended, dumpable: 0\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the processes")
def test_credentials_in_the_environment_stay_with_the_daemon(short_path: Path) -> None:
    daemon = Vtpmd(short_path, environment={"AWS_SECRET_ACCESS_KEY": "hush", "LC_ALL": "C"})
    try:
        instance = daemon.create("web1")
        for pid in (*children(daemon.process()), instance.process()):
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert b"LC_ALL=C" in environment
            assert b"AWS_SECRET_ACCESS_KEY=hush" not in environment
    finally:
        daemon.close()


def test_a_thousand_instances_need_more_descriptors_than_a_shell_gives(short_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        daemon = Vtpmd(short_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limits = Path(f"/proc/{daemon.process()}/limits").read_text()
    daemon.close()
    found = re.search(r"^Max open files +(\d+) ", limits, re.MULTILINE)
    assert found is not None
    assert int(found[1]) == min(65536, hard)
