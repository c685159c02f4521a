"""swtpm instances, each a process of its own."""

import subprocess
from pathlib import Path

from tests.peers.client import PeerError
from tests.peers.instance import end_process, wait_until


class SwtpmInstance:
    """A swtpm over a state directory; the process is ended and started at will."""

    def __init__(self, directory: Path, name: str) -> None:
        self.data = directory / f"{name}.sock"
        self._state = directory / f"{name}.state"
        self._state.mkdir(exist_ok=True)
        self._log = directory / f"{name}.log"
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        for path in (self.data, self.control):
            path.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [
                    *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._state}"),
                    *("--server", f"type=unixio,path={self.data}"),
                    *("--ctrl", f"type=unixio,path={self.control}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

        def listening() -> bool:
            if process.poll() is not None:
                raise PeerError(f"swtpm ended: {self._log.read_text(errors='replace')}")
            return self.control.exists() and self.data.exists()

        wait_until(listening, "swtpm's sockets")
        return process

    @property
    def control(self) -> Path:
        return self.data.with_name(self.data.name + ".ctrl")

    def process(self) -> int:
        return self._process.pid

    def restart(self) -> None:
        end_process(self._process)
        self._process = self._start()

    def close(self) -> None:
        end_process(self._process)
