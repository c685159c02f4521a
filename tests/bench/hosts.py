"""What serves TPMs on this machine, seen from who asks for them."""

import shutil
import subprocess
from pathlib import Path
from typing import Any, Protocol

from tests.bench.processes import command_line, family
from tests.bench.results import BEFORE, OURS, PEER
from tests.peers.client import PeerError
from tests.peers.instance import Instance
from tests.peers.swtpm import SwtpmInstance
from tests.peers.vtpmd import COMMANDS, Vtpmd, VtpmdInstance


class Host(Protocol):
    name: str

    def create(self, name: str) -> Instance:
        """A new TPM, served."""

    def stop(self, instance: Instance) -> None:
        """End serving it; its state stays."""

    def start(self, instance: Instance) -> None:
        """Ask for it to be served; returns when its control socket can be connected to."""

    def make(self, name: str) -> None:
        """What a program does for a new TPM with endorsement keys."""

    def make_by_command(self, name: str) -> None:
        """What a person types for it."""

    def unmake(self, name: str) -> None:
        """Delete what `make` has made."""

    def request_certificates(self, instance: Instance) -> None:
        """Have a TPM that is served make requests for certificates of its endorsement keys."""

    def renew_certificates(self, instance: Instance) -> None:
        """Give a TPM that is served new certificates."""

    def supervisor(self) -> int | None:
        """The process that all instances have in common, if any. Certificates, `list`, `listing`
        and `knock` are for hosts that have one."""

    def common_processes(self) -> list[int]:
        """Processes that are not one instance's, perhaps among others."""

    def list(self) -> None:
        """Have all instances listed."""

    def listing(self) -> subprocess.Popen[bytes]:
        """A process of its own that has all instances listed and ends."""

    def knock(self) -> None:
        """Ask for something that takes the supervisor no time."""

    def close(self) -> None:
        """End everything."""


class SwtpmHost:
    """A process for each instance, and nothing else."""

    name = PEER

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

    def make(self, name: str) -> None:
        """With swtpm_setup; the keys and PCR banks are those of vtpmd's default.

        Nobody serves it then. Raises PeerError.
        """
        state = self._directory / name
        state.mkdir()
        command = ["swtpm_setup", "--tpm2", "--tpmstate", str(state), "--createek"]
        try:
            done = subprocess.run(
                [*command, "--pcr-banks", "sha256,sha384"], capture_output=True, text=True
            )
        except FileNotFoundError:
            raise PeerError("swtpm_setup is not installed") from None
        if done.returncode:
            raise PeerError(f"swtpm_setup: {done.stdout}{done.stderr}")

    make_by_command = make

    def unmake(self, name: str) -> None:
        shutil.rmtree(self._directory / name)

    def request_certificates(self, instance: Instance) -> None:
        raise NotImplementedError

    def renew_certificates(self, instance: Instance) -> None:
        raise NotImplementedError

    def supervisor(self) -> None:
        return None

    def common_processes(self) -> list[int]:
        return []

    def list(self) -> None:
        raise NotImplementedError

    def listing(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def knock(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        for instance in self._instances:
            instance.close()


class VtpmdHost:
    """One daemon for all; asked over its admin socket, without the time vtpmctl takes to start.

    `commands`: the directory of the programs, in this checkout or in another.
    """

    def __init__(self, directory: Path, name: str = OURS, commands: Path = COMMANDS) -> None:
        self.name = name
        self.commands = commands
        self._daemon = Vtpmd(directory, commands=commands)

    def _request(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        status, answer = self._daemon.request(method, f"/instances{path}", content)
        if status >= 300:
            raise PeerError(f"{method} {path}: {status} {answer}")
        return answer

    def create(self, name: str) -> VtpmdInstance:
        return VtpmdInstance(self._daemon, self._request("POST", "", {"name": name}))

    def stop(self, instance: Instance) -> None:
        assert isinstance(instance, VtpmdInstance)
        self._request("POST", f"/{instance.name}/stop", {"force": True})

    def start(self, instance: Instance) -> None:
        assert isinstance(instance, VtpmdInstance)
        self._request("POST", f"/{instance.name}/start", {})

    def make(self, name: str) -> None:
        """One request. It is durable and served then."""
        self._request("POST", "", {"name": name})

    def make_by_command(self, name: str) -> None:
        """vtpmctl, from its start to its end."""
        self._daemon.control("create", name)

    def unmake(self, name: str) -> None:
        self._request("POST", f"/{name}/stop", {"force": True})
        self._request("DELETE", f"/{name}")

    def request_certificates(self, instance: Instance) -> None:
        assert isinstance(instance, VtpmdInstance)
        self._request("POST", f"/{instance.name}/ek/requests", {})

    def renew_certificates(self, instance: Instance) -> None:
        assert isinstance(instance, VtpmdInstance)
        self._request("POST", f"/{instance.name}/ek/renew", {})

    def supervisor(self) -> int:
        return self._daemon.process()

    def zygote(self) -> int:
        """The process that workers are forked from."""
        children = family(self._daemon.process())[1:]
        return next(pid for pid in children if b"vtpmd.worker.zygote" in command_line(pid))

    def common_processes(self) -> list[int]:
        """The supervisor, the zygote, and workers of no instance; those of instances, too."""
        return family(self._daemon.process())

    def list(self) -> None:
        self._request("GET", "")

    def listing(self) -> subprocess.Popen[bytes]:
        return self._daemon.controlling("list")

    def knock(self) -> None:
        """There is nothing at that path."""
        self._daemon.request("GET", "/")

    def close(self) -> None:
        self._daemon.close()


def host_of(name: str, directory: Path, before: Path | None = None) -> Host:
    """The host of this name with its files in a directory of its own.

    `before`: the other checkout, which has a virtual environment.
    """
    directory.mkdir()
    if name == BEFORE:
        assert before is not None
        return VtpmdHost(directory, BEFORE, before / ".venv/bin")
    return SwtpmHost(directory) if name == PEER else VtpmdHost(directory)
