"""A real daemon in a directory of its own, the real vtpmctl, and a plain TPM client."""

import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.peers.vtpmd import Vtpmd

DEADLINE = 60.0
CMD_INIT = 2
CMD_STORE_VOLATILE = 0x0A
STARTUP_CLEAR = bytes.fromhex("80010000000c000001440000")
STARTUP_STATE = bytes.fromhex("80010000000c000001440001")
GET_RANDOM_8 = bytes.fromhex("80010000000c0000017b0008")

Result = TypeVar("Result")


class Daemon(Vtpmd):
    """`vtpmd` as it is by default, with everything below `root`; `more` is added to its file."""

    def __init__(
        self, root: Path, more: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(root, sandbox="require", more=more, as_root=True, environment=environment)

    def restart(self, number: int = signal.SIGTERM) -> None:
        """End it, start a fresh one."""
        self.end(number)
        self.start()

    def clean_up(self) -> None:
        """Leave no process behind, however the test ended."""
        if self.ended:
            self.start()
        self.close()

    def until(self, name: str, condition: Callable[[Any], Result | None]) -> Result:
        """Poll an instance until `condition` of its info is true; its value."""
        return until(lambda: condition(self.instance(name).info()))


def until(condition: Callable[[], Result | None]) -> Result:
    """Poll until `condition` is true, and return its value."""
    deadline = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.002)
    return value


@contextmanager
def running(root: Path, configuration: str = "") -> Iterator[Daemon]:
    """A daemon that runs, and no process of it afterwards."""
    daemon = Daemon(root, configuration)
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
