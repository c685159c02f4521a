"""Metrics of a whole daemon, on the port that its configuration names."""

import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

from tests.standalone.process import free_ports
from tests.supervisor.harness import running
from vtpmd.api import names


def test_the_configured_port_has_them(root: Path) -> None:
    port = free_ports()
    with running(root, f"metrics: {{port: {port}}}") as daemon:
        daemon.control("create", "web1")
        with urlopen(f"http://127.0.0.1:{port}{names.METRICS.path}", timeout=30) as answer:
            text = answer.read().decode()
        assert 'vtpmd_instances{state="running"} 1.0' in text
        assert 'vtpmd_instances{state="running"} 1.0' in daemon.control("metrics")["metrics"]


def test_a_port_that_is_taken_is_told_before_anything_is_served(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = root / "vtpmd.yaml"
        file.write_text(f"state_dir: {root}/s\nruntime_dir: {root}/r\nmetrics: {{port: {port}}}\n")
        done = subprocess.run(
            [sys.executable, "-m", "vtpmd.cli.vtpmd", "--config", file],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == names.DAEMON_EXIT_CONFIGURATION
    assert f"metrics.port: {port}: Address already in use" in done.stderr
