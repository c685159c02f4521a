"""A real KMIP server: PyKMIP's, in processes of its own."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.kms.kmip.certificates import Pair

DEADLINE = 30.0

# PyKMIP's package warns when it is imported; its warnings concern nobody here.
_PROGRAM = "from kmip.services.server.server import main; main()"
_CONFIGURATION = """\
[server]
hostname=127.0.0.1
port={port}
certificate_path={pair.certificate}
key_path={pair.key}
ca_path={ca}
auth_suite=TLS1.2
policy_path={directory}/policies
enable_tls_client_auth=True
logging_level=WARNING
database_path={directory}/keys.db
"""


class Server:
    """PyKMIP's server with everything it writes below ``directory``."""

    def __init__(self, directory: Path, ca: Path, pair: Pair) -> None:
        self._directory = directory
        (directory / "policies").mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        (directory / "server.conf").write_text(
            _CONFIGURATION.format(port=self.port, pair=pair, ca=ca, directory=directory)
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the server has logged."""
        return (self._directory / "server.log").read_text()

    def start(self) -> None:
        """Start it and return when it listens."""
        files = {"-f": "server.conf", "-l": "server.log"}
        arguments = [each for name in files for each in (name, str(self._directory / files[name]))]
        with (self._directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", _PROGRAM, *arguments],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        ended = os.pidfd_open(self._process.pid)
        deadline = time.monotonic() + DEADLINE
        try:
            while not self._listens():
                gone, _, _ = select.select([ended], [], [], 0.05)
                assert not gone, (self._directory / "output").read_text()
                assert time.monotonic() < deadline, "the server does not listen"
        finally:
            os.close(ended)

    def stop(self) -> None:
        """End it and all its processes, which outlive a SIGKILL of the first."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(DEADLINE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(DEADLINE)
            self._process = None

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except ConnectionRefusedError:
            return False
        return True
