"""tpm2-tools against one instance, in a directory of its own."""

import os
import re
import subprocess
from pathlib import Path

from tests.peers.client import STARTUP_CLEAR, Control, DataSocket
from tests.peers.instance import Instance

CLEAR_BY_PLATFORM = bytes.fromhex("80020000001b000001264000000c00000009400000090000000000")
TRANSIENT_HANDLES = bytes.fromhex("8001000000160000017a000000018000000000000100")


class ToolError(AssertionError):
    """A tool that should have succeeded failed."""


def reset(instance: Instance, *commands: bytes) -> None:
    """Reset the machine: _TPM_Init, TPM2_Startup(CLEAR), and then the commands."""
    with Control(instance.control) as control:
        control.power_on()
    data = DataSocket(instance.data)
    for command in (STARTUP_CLEAR, *commands):
        response = data.execute(command)
        assert response[6:10] == bytes(4), response.hex()


def fresh(instance: Instance) -> None:
    """Bring the TPM into a known state: reset, and cleared of its owner's things."""
    reset(instance, CLEAR_BY_PLATFORM)


class Tools:
    """Runs tools; names of files are relative to `directory`."""

    def __init__(self, instance: Instance, directory: Path) -> None:
        self.instance = instance
        self.directory = directory
        self._data = DataSocket(instance.data)
        self._environment = {
            **os.environ,
            "TPM2TOOLS_TCTI": f"swtpm:path={instance.data}",
            "LC_ALL": "C",
        }

    def __call__(self, line: str, *more: str | Path, given: bytes = b"") -> bytes:
        """Standard output of `tpm2 LINE MORE…`, which must succeed; `given` is its input."""
        done = self._run(line, more, given)
        if done.returncode:
            raise ToolError(f"tpm2 {line}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def text(self, line: str, *more: str | Path) -> str:
        return self(line, *more).decode()

    def refused(self, code: int, line: str, *more: str | Path, given: bytes = b"") -> None:
        """`tpm2 LINE MORE…` must fail, and with exactly this response code of the TPM."""
        done = self._run(line, more, given)
        said = done.stderr.decode(errors="replace")
        assert done.returncode, f"tpm2 {line}: succeeded, should have been refused"
        assert code in [int(found, 16) for found in re.findall(r"\(0x([0-9a-fA-F]+)\)", said)], said

    def _run(
        self, line: str, more: tuple[str | Path, ...], given: bytes
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            ["tpm2", *line.split(), *map(str, more)],
            input=given,
            capture_output=True,
            cwd=self.directory,
            env=self._environment,
            timeout=60,
        )
        self._flush()
        return done

    def _flush(self) -> None:
        """Unload what the tool left behind: there is no resource manager to do it."""
        handles = self._data.execute(TRANSIENT_HANDLES)[19:]
        for position in range(0, len(handles), 4):
            flush = bytes.fromhex("80010000000e00000165") + handles[position : position + 4]
            self._data.execute(flush)

    def restart(self) -> None:
        """Reset the machine."""
        reset(self.instance)

    def restart_server(self) -> None:
        """End what serves the TPM, start it again, and reset the machine."""
        self.instance.restart()
        self.restart()

    def read(self, name: str) -> bytes:
        return (self.directory / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        (self.directory / name).write_bytes(content)

    def primary(self, name: str = "primary.ctx", algorithm: str = "ecc", more: str = "") -> str:
        """A storage key of the owner, saved under `name`."""
        self(f"createprimary -Q -C o -G {algorithm} -c {name} {more}")
        return name

    def key(
        self, algorithm: str, name: str = "key", parent: str = "primary.ctx", more: str = ""
    ) -> str:
        """A key below `parent`, created and loaded: NAME.pub, NAME.priv, NAME.ctx, NAME.name."""
        self(f"create -Q -C {parent} -G {algorithm} -u {name}.pub -r {name}.priv {more}")
        self(f"load -Q -C {parent} -u {name}.pub -r {name}.priv -c {name}.ctx -n {name}.name")
        return f"{name}.ctx"

    def policy(self, *steps: str, name: str = "policy") -> str:
        """The digest of the policy that the steps ("policypcr -l sha256:16") make, in a file."""
        self("startauthsession -S trial.ctx")
        for step in steps:
            self(f"{step} -Q -S trial.ctx -L {name}")
        self("flushcontext trial.ctx")
        return name

    def satisfied(self, *steps: str, name: str = "session.ctx") -> str:
        """A policy session that has gone through the steps."""
        self(f"startauthsession --policy-session -S {name}")
        for step in steps:
            self(f"{step} -Q -S {name}")
        return name
