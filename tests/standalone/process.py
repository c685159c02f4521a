"""A vtpmd-swtpm process, and where it listens."""

import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.peers.client import Control, PeerError
from tests.peers.instance import end_process, wait_until
from tests.peers.vtpmd import COMMANDS

PROGRAM = COMMANDS / "vtpmd-swtpm"
DEADLINE = 30.0
_GET_CAPABILITY = 1
STARTED = ("--flags", "not-need-init,startup-clear")


def command(*arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Exit status, output and errors of a command that ends by itself."""
    done = subprocess.run(
        [PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, **(environment or {})},
    )
    return done.returncode, done.stdout, done.stderr


class Place:
    """A directory with the state and the sockets of one TPM; it may be served again and again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.state.mkdir(mode=0o700)
        self.data = directory / "tpm.sock"
        self.control = directory / "tpm.sock.ctrl"
        self.log = directory / "log"
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def sockets(self) -> tuple[str, ...]:
        """The arguments for both sockets, as tpm2-tss expects them."""
        server = ("--server", f"type=unixio,path={self.data}")
        return (*server, "--ctrl", f"type=unixio,path={self.control}")

    def start(
        self, *arguments: str, fds: Sequence[int] = (), sockets: Sequence[Path] | None = None
    ) -> subprocess.Popen[bytes]:
        """A process with these arguments besides the state's; wait for its `sockets`."""
        paths = (self.data, self.control) if sockets is None else sockets
        stale = {path: _identity(path) for path in paths}
        with (self.directory / "stderr").open("ab") as errors:
            process = subprocess.Popen(
                [PROGRAM, "socket", "--tpm2", "--tpmstate", f"dir={self.state}", *arguments],
                stdin=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=tuple(fds),
            )
        self._processes.append(process)
        for path in paths:  # each appears, in the place of a stale one, when it is listened on
            self._until(process, partial(_differs, path, stale[path]), str(path))
        return process

    def serve(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Serve on the two sockets; it answers when this returns."""
        process = self.start(*self.sockets, *arguments)
        with Control(self.control) as control:
            control.command(_GET_CAPABILITY)
        return process

    def serve_tcp(self, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
        """Serve on a TCP port and, for the control channel, the next one."""
        port = free_ports()
        server, control = f"port={port}", f"type=tcp,port={port + 1}"
        process = self.start("--server", server, "--ctrl", control, *arguments, sockets=())

        def listening() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port + 1)) == 0

        self._until(process, listening, f"port {port + 1}")
        return process, port

    def refused(self, *arguments: str) -> str:
        """The errors of a start that must fail."""
        status, _, errors = command(
            "socket", "--tpm2", "--tpmstate", f"dir={self.state}", *arguments
        )
        assert status == 1, errors
        return errors

    def errors(self) -> str:
        return (self.directory / "stderr").read_text()

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                end_process(process)

    def _until(
        self, process: subprocess.Popen[bytes], condition: Callable[[], bool], what: str
    ) -> None:
        def holds() -> bool:
            if process.poll() is not None:
                raise PeerError(f"vtpmd-swtpm ended: {self.errors()}")
            return condition()

        wait_until(holds, what)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one of the same name; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_ctime_ns


def _differs(path: Path, identity: tuple[int, int] | None) -> bool:
    return _identity(path) not in (identity, None)


def free_ports() -> int:
    """A port that is free, as is the one after it."""
    while True:
        port = random.randrange(20000, 60000)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
        return port


def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process to end by itself; its exit status."""
    return process.wait(DEADLINE)


def terminate(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    """End a process by a signal; its exit status."""
    process.send_signal(number)
    return ended(process)
