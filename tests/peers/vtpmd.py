"""A vtpmd of one's own below a directory, without privileges, and its instances."""

import functools
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
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

    def __init__(
        self,
        directory: Path,
        sandbox: str = "best-effort",
        state: Path | None = None,
        environment: Mapping[str, str] | None = None,
        more: str = "",
        as_root: bool = False,
        commands: Path = COMMANDS,
    ) -> None:
        """State is kept in `state`, an empty directory, if it shall be another than `directory`.

        `more` is added to the configuration; `as_root`: as whoever runs the tests, root or not;
        `commands`: where vtpmd and vtpmctl are.
        """
        self.commands = commands
        self.directory = directory
        self.state = state or directory / "state"
        self.runtime = directory / "run"
        self.admin = self.runtime / "admin.sock"
        self.configuration = directory / "vtpmd.yaml"
        self.log_file = directory / "vtpmd.log"
        self.environment = {**os.environ, **(environment or {})}
        self._user = None if as_root else identity()
        self.configuration.write_text(
            f"state_dir: {self.state}\nruntime_dir: {self.runtime}\nsandbox: {sandbox}\n{more}"
        )
        for path in (self.state, self.runtime):
            path.mkdir(mode=0o700, exist_ok=path == state)
        if user := self._user:
            directory.chmod(0o711)
            for path in (self.state, self.runtime):
                shutil.chown(path, user, user)
        self._process = self._start()

    def run(self, log: Any, notify: Path | None = None) -> subprocess.Popen[bytes]:
        """Another process of the same daemon, which notifies `notify`; its output goes to `log`."""
        user = self._user
        return subprocess.Popen(
            [self.commands / "vtpmd", "--config", self.configuration],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd="/",
            env=self.environment | ({"NOTIFY_SOCKET": str(notify)} if notify else {}),
        )

    def _start(self) -> subprocess.Popen[bytes]:
        """A process that has said that it is ready."""
        address = self.directory / "notify"
        address.unlink(missing_ok=True)
        with (
            self.log_file.open("ab") as log,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications,
        ):
            notifications.bind(str(address))
            address.chmod(0o777)
            process = self.run(log, address)
            ended = os.pidfd_open(process.pid)
            said, _, _ = select.select([notifications.fileno(), ended], [], [], 60)
            os.close(ended)
            if notifications.fileno() not in said or b"READY=1" not in notifications.recv(4096):
                process.kill()
                process.wait()
                raise PeerError(f"vtpmd is not ready: {self.log()}")
        return process

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the supervisor a signal; its exit status. Workers live on."""
        self._process.send_signal(number)
        return self._process.wait(30)

    def start(self) -> None:
        """Start the daemon again after `end`."""
        self._process = self._start()

    @property
    def ended(self) -> bool:
        """Whether the supervisor has ended."""
        return self._process.poll() is not None

    def process(self) -> int:
        """Process id of the supervisor."""
        return self._process.pid

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run vtpmctl."""
        return subprocess.run(
            self._controlling(*arguments), capture_output=True, text=True, timeout=60
        )

    def controlling(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The process of vtpmctl, begun, whose output nobody wants."""
        return subprocess.Popen(
            self._controlling(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _controlling(self, *arguments: str) -> list[str]:
        return [str(self.commands / "vtpmctl"), "--socket", str(self.admin), *arguments]

    def control(self, *arguments: str) -> Any:
        """What vtpmctl answers, from its --json."""
        done = self.ctl(*arguments, "--json")
        if done.returncode:
            raise PeerError(f"vtpmctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def text(self, *arguments: str) -> str:
        """What vtpmctl prints for people."""
        done = self.ctl(*arguments)
        done.check_returncode()
        return done.stdout

    def request(self, method: str, path: str, content: object = None) -> tuple[int, Any]:
        """One request to the admin interface: status and content of the answer."""
        body = b"" if content is None else json.dumps(content).encode()
        head = f"{method} /v1{path} HTTP/1.1\r\nHost: vtpmd\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(self.admin))
            connection.sendall(head.encode() + body)
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            answer = response.read()
        return response.status, json.loads(answer) if answer else None

    def create(self, name: str, *options: str) -> "VtpmdInstance":
        """Manufacture an instance; it is served when this returns."""
        return VtpmdInstance(self, self.control("create", name, "--data-socket", *options))

    def instance(self, name: str) -> "VtpmdInstance":
        """An instance that exists."""
        return VtpmdInstance(self, self.control("info", name))

    def close(self) -> None:
        """Stop every instance and the daemon: workers outlive it otherwise."""
        if not self.ended:
            try:
                self._stop_all()
            finally:
                end_process(self._process)

    def _stop_all(self) -> None:
        """What `vtpmctl stop --all --temporary --force` asks for, without a process for it."""
        _, listed = self.request("GET", "/instances")
        for info in listed["instances"]:
            if info["state"] != "stopped":
                where = f"/instances/{info['uuid']}/stop"
                content = {"remember": False, "force": True}
                status, answer = self.request("POST", where, content)
                if status != 200:
                    raise PeerError(f"stop {info['name']}: {answer}")


class VtpmdInstance:
    """An instance of a Vtpmd, from its info."""

    def __init__(self, daemon: Vtpmd, info: Mapping[str, Any]) -> None:
        self.daemon = daemon
        self.name: str = info["name"]
        self.control = Path(info["control_socket"])
        self.data = self.control.with_name(self.control.name.removesuffix(".ctrl"))
        self.directory = daemon.state / "instances" / info["uuid"]
        self.nvram = self.directory / "tpm" / "nvram"
        self.adoption = daemon.runtime / "workers" / info["uuid"]

    def info(self) -> dict[str, Any]:
        status, info = self.daemon.request("GET", f"/instances/{self.name}")
        if status != 200:
            raise PeerError(f"info {self.name}: {info}")
        return dict(info)

    def process(self) -> int:
        return int(self.info()["worker"]["pid"])

    def wait_for(self, condition: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        """Poll the info until the condition holds; that info."""
        found: dict[str, Any] = {}

        def holds() -> bool:
            found.update(self.info())
            return bool(condition(found))

        wait_until(holds, f"{self.name}: {what}")
        return found

    def kill(self, number: int = signal.SIGKILL) -> None:
        """A signal that ends the worker, and wait for the one that replaces it."""
        killed = self.process()
        os.kill(killed, number)
        self.wait_for(
            lambda info: info["worker"] is not None and info["worker"]["pid"] != killed,
            "a new worker",
        )

    def start(self) -> tuple[int, Any]:
        """Ask for it to be served: status and content of the answer."""
        return self.daemon.request("POST", f"/instances/{self.name}/start")

    def stop(self) -> None:
        """Serve it no longer, until it is started."""
        self.daemon.control("stop", self.name, "--force")

    def restart(self) -> None:
        self.stop()
        self.daemon.control("start", self.name)

    def close(self) -> None:
        self.stop()
