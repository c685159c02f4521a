"""A real daemon in a directory of its own, the real vtpmctl, and a plain TPM client."""

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

DEADLINE = 60.0
CMD_INIT = 2
CMD_STORE_VOLATILE = 0x0A
STARTUP_CLEAR = bytes.fromhex("80010000000c000001440000")
STARTUP_STATE = bytes.fromhex("80010000000c000001440001")
GET_RANDOM_8 = bytes.fromhex("80010000000c0000017b0008")

Result = TypeVar("Result")


class Daemon:
    """`vtpmd` with everything below `root`; `configuration` is added to its file."""

    def __init__(self, root: Path, configuration: str = "") -> None:
        self.root = root
        self.state = root / "state"
        self.runtime = root / "run"
        self.configuration = root / "vtpmd.yaml"
        self.configuration.write_text(
            f"state_dir: {self.state}\nruntime_dir: {self.runtime}\n{configuration}"
        )
        self.log = root / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and return when it has sent READY=1."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
            address = self.root / "notify"
            address.unlink(missing_ok=True)
            notifications.bind(str(address))
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "vtpmd.cli.vtpmd", "--config", self.configuration],
                    stderr=log,
                    env=os.environ | {"NOTIFY_SOCKET": str(address)},
                )
            ended = os.pidfd_open(self._process.pid)
            ready, _, _ = select.select([notifications.fileno(), ended], [], [], DEADLINE)
            os.close(ended)
            assert notifications.fileno() in ready, self.log.read_text()
            assert b"READY=1" in notifications.recv(4096)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status; workers live on."""
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(DEADLINE)
        self._process = None
        return status

    def restart(self, number: int = signal.SIGTERM) -> None:
        """End it, start a fresh one."""
        self.end(number)
        self.start()

    def clean_up(self) -> None:
        """Leave no process behind, however the test ended."""
        if self._process is None:
            self.start()
        self.ctl("stop", "--all")
        self.end()

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run vtpmctl against this daemon."""
        return subprocess.run(
            [sys.executable, "-m", "vtpmd.cli.vtpmctl", *arguments],
            env=os.environ | {"VTPMD_ADMIN_SOCKET": str(self.runtime / "admin.sock")},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """The JSON that a successful vtpmctl prints."""
        result = self.ctl(*arguments, "--json")
        assert result.returncode == 0, result.stdout + result.stderr
        return json.loads(result.stdout)

    def until(self, name: str, condition: Callable[[Any], Result | None]) -> Result:
        """Poll an instance until `condition` of its info is true; its value."""
        return until(lambda: condition(self.json("info", name)))


def until(condition: Callable[[], Result | None]) -> Result:
    """Poll until `condition` is true, and return its value."""
    deadline = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
    return value


@contextmanager
def running(root: Path, configuration: str = "") -> Iterator[Daemon]:
    """A daemon that runs, and no process of it afterwards."""
    daemon = Daemon(root, configuration)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.clean_up()


def control(info: Any, command: int, body: bytes = b"", size: int = 4) -> bytes:
    """One control command on a fresh connection; its answer."""
    return _exchange(info["control_socket"], struct.pack(">I", command) + body, size)


def power_on(info: Any) -> None:
    """What QEMU does when the machine is reset."""
    assert control(info, CMD_INIT, bytes(4)) == bytes(4)


def execute(info: Any, command: bytes) -> tuple[int, bytes]:
    """One TPM command on a fresh connection to the data socket: response code and the rest."""
    response = _exchange(info["data_socket"], command, 10)
    _, size, code = struct.unpack(">HII", response[:10])
    assert len(response) == size
    return code, response[10:]


def _exchange(path: str, request: bytes, size: int) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(path)
        sock.sendall(request)
        response = sock.recv(4096)
        assert len(response) >= size
        return response
