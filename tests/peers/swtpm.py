"""swtpm instances, each a process of its own."""

import subprocess
from pathlib import Path

from tests.peers.client import PeerError
from tests.peers.instance import end_process, wait_until

_ACCEPTING = "00010000"


def _is_listening(path: Path) -> bool:
    """Whether a socket is not only bound: the path alone is there a moment before."""
    sockets = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return any(found[3] == _ACCEPTING and found[-1] == str(path) for found in sockets)


class SwtpmInstance:
    """A swtpm over a state directory; the process is ended and started at will."""

    def __init__(self, directory: Path, name: str, *, data_socket: bool = True) -> None:
        """With a data socket, swtpm refuses the data channel that QEMU brings along."""
        self.data = directory / f"{name}.sock"
        self._state = directory / f"{name}.state"
        self._state.mkdir(exist_ok=True)
        self._log = directory / f"{name}.log"
        self._arguments = ["--ctrl", f"type=unixio,path={self.control}"]
        self._sockets = [self.control]
        if data_socket:
            self._arguments += ["--server", f"type=unixio,path={self.data}"]
            self._sockets += [self.data]
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        for path in self._sockets:
            path.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [
                    *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._state}"),
                    *self._arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

        def listening() -> bool:
            if process.poll() is not None:
                raise PeerError(f"swtpm ended: {self._log.read_text(errors='replace')}")
            return all(_is_listening(path) for path in self._sockets)

        wait_until(listening, "swtpm's sockets")
        return process

    @property
    def control(self) -> Path:
        return self.data.with_name(self.data.name + ".ctrl")

    def process(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Serve it again after `close`."""
        self._process = self._start()

    def restart(self) -> None:
        self.close()
        self.start()

    def close(self) -> None:
        end_process(self._process)
