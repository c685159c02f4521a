"""A vtpmd of one's own below a directory, without privileges, and its instances."""

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.peers.client import PeerError
from tests.peers.instance import end_process, wait_until

UNPRIVILEGED = 65534
"""User and group "nobody" of Debian: whom the daemon runs as when the tests are root's."""

COMMANDS = Path(sys.executable).parent


@functools.cache
def identity() -> int | None:
    """Who the daemon runs as: not root, where another may read the interpreter and vtpmd."""
    if os.geteuid() != 0:
        return None
    try:
        probe = [sys.executable, "-c", "import vtpmd"]
        done = subprocess.run(
            probe,
            user=UNPRIVILEGED,
            group=UNPRIVILEGED,
            extra_groups=[],
            cwd="/",
            stderr=subprocess.DEVNULL,
        )
    except PermissionError:
        return None
    return UNPRIVILEGED if done.returncode == 0 else None


class Vtpmd:
    """The daemon. The directory's path must be short: sockets are below it."""

    def __init__(self, directory: Path, sandbox: str = "best-effort") -> None:
        self.directory = directory
        self._configuration = directory / "vtpmd.yaml"
        self._log = directory / "vtpmd.log"
        self.admin = directory / "run" / "admin.sock"
        configuration = {
            "state_dir": str(directory / "state"),
            "runtime_dir": str(directory / "run"),
            "sandbox": sandbox,
        }
        self._configuration.write_text(json.dumps(configuration))  # JSON is YAML, too
        for name in ("state", "run"):
            (directory / name).mkdir(mode=0o700)
        if user := identity():
            directory.chmod(0o711)
            for name in ("state", "run"):
                shutil.chown(directory / name, user, user)
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        user = identity()
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [COMMANDS / "vtpmd", "--config", self._configuration],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                cwd="/",
            )

        def answering() -> bool:
            if process.poll() is not None:
                raise PeerError(f"vtpmd ended: {self.log()}")
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(str(self.admin)) == 0

        wait_until(answering, "vtpmd's admin socket")
        return process

    def process(self) -> int:
        """Process id of the supervisor."""
        return self._process.pid

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def control(self, *arguments: str) -> Any:
        """What vtpmctl answers, from its --json."""
        done = subprocess.run(
            [COMMANDS / "vtpmctl", "--socket", self.admin, *arguments, "--json"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise PeerError(f"vtpmctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def create(self, name: str, *options: str) -> "VtpmdInstance":
        """Manufacture an instance; it is served when this returns."""
        info = self.control("create", name, "--data-socket", *options)
        return VtpmdInstance(self, name, Path(info["control_socket"]))

    def close(self) -> None:
        """Stop every instance and the daemon: workers outlive it otherwise."""
        if self._process.poll() is None:
            self.control("stop", "--all")
            end_process(self._process)


class VtpmdInstance:
    """An instance of a Vtpmd."""

    def __init__(self, daemon: Vtpmd, name: str, control: Path) -> None:
        self.daemon, self.name, self.control = daemon, name, control
        self.data = control.with_name(control.name.removesuffix(".ctrl"))

    def info(self) -> dict[str, Any]:
        info: dict[str, Any] = self.daemon.control("info", self.name)
        return info

    def process(self) -> int:
        return int(self.info()["worker"]["pid"])

    def kill(self) -> None:
        """SIGKILL for the worker, and wait for the one that replaces it."""
        killed = self.process()
        os.kill(killed, signal.SIGKILL)

        def replaced() -> bool:
            worker = self.info()["worker"]
            return worker is not None and worker["pid"] != killed

        wait_until(replaced, "a new worker")

    def restart(self) -> None:
        self.daemon.control("stop", self.name)
        self.daemon.control("start", self.name)

    def close(self) -> None:
        self.daemon.control("stop", self.name)
