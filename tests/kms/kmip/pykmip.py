"""A real KMIP server: PyKMIP's, in processes of its own."""

import signal
import sys
from pathlib import Path

from tests.kms.certificates import Pair
from tests.kms.server_process import ServerProcess, free_port

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
    """PyKMIP's server with everything it writes below `directory`."""

    def __init__(self, directory: Path, ca: Path, pair: Pair) -> None:
        self._directory = directory
        self.port = free_port()
        (directory / "policies").mkdir()
        (directory / "server.conf").write_text(
            _CONFIGURATION.format(port=self.port, pair=pair, ca=ca, directory=directory)
        )

    def start(self) -> None:
        """Start it, with the keys it has, and return when it listens."""
        files = {"-f": "server.conf", "-l": "server.log"}
        arguments = [each for name in files for each in (name, str(self._directory / files[name]))]
        self._process = ServerProcess(
            [sys.executable, "-W", "ignore", "-c", _PROGRAM, *arguments],
            self.port,
            self._directory / "output",
        )

    def stop(self) -> None:
        """End it at once: it takes ten seconds over any other signal, and its keys are on disk."""
        self._process.stop(signal.SIGKILL)
