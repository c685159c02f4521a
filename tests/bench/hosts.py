"""What serves TPMs on this machine, seen from who asks for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tests.peers.client import PeerError
from tests.peers.instance import Instance
from tests.peers.swtpm import SwtpmInstance
from tests.peers.vtpmd import Vtpmd, VtpmdInstance


class Host(Protocol):
    name: str

    def create(self, name: str) -> Instance:
        """A new TPM, served."""

    def stop(self, instance: Instance) -> None:
        """End serving it; its state stays."""

    def start(self, instance: Instance) -> None:
        """Ask for it to be served; returns when its control socket can be connected to."""

    def common_processes(self) -> list[int]:
        """Processes that are not one instance's."""

    def close(self) -> None:
        """End everything."""


class SwtpmHost:
    """A process for each instance, and nothing else."""

    name = "swtpm"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._instances: list[SwtpmInstance] = []

    def create(self, name: str) -> SwtpmInstance:
        self._instances.append(SwtpmInstance(self._directory, name, data_socket=False))
        return self._instances[-1]

    def stop(self, instance: Instance) -> None:
        instance.close()

    def start(self, instance: Instance) -> None:
        assert isinstance(instance, SwtpmInstance)
        instance.start()

    def common_processes(self) -> list[int]:
        return []

    def close(self) -> None:
        for instance in self._instances:
            instance.close()


class VtpmdHost:
    """One daemon for all; asked over its admin socket, without the time vtpmctl takes to start."""

    name = "vtpmd"

    def __init__(self, directory: Path) -> None:
        self._daemon = Vtpmd(directory)

    def _post(self, path: str, content: dict[str, Any]) -> Any:
        status, answer = self._daemon.request("POST", f"/instances{path}", content)
        if status >= 300:
            raise PeerError(f"POST {path}: {status} {answer}")
        return answer

    def create(self, name: str) -> VtpmdInstance:
        return VtpmdInstance(self._daemon, self._post("", {"name": name}))

    def stop(self, instance: Instance) -> None:
        assert isinstance(instance, VtpmdInstance)
        self._post(f"/{instance.name}/stop", {})

    def start(self, instance: Instance) -> None:
        assert isinstance(instance, VtpmdInstance)
        self._post(f"/{instance.name}/start", {})

    def common_processes(self) -> list[int]:
        """The supervisor and what it has forked, beside the workers."""
        parent = self._daemon.process()
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [parent, *map(int, children)]

    def close(self) -> None:
        self._daemon.close()


HOSTS: dict[str, Callable[[Path], Host]] = {"vtpmd": VtpmdHost, "swtpm": SwtpmHost}
