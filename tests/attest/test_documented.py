"""What docs/attestation.md has people type, from `create` to a policy, typed."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attest import made
from tests.conformance.tools import Tools
from tests.peers.vtpmd import COMMANDS
from tests.supervisor.harness import Daemon, running

pytestmark = pytest.mark.served

DOCUMENT = Path(__file__).parents[2] / "docs/attestation.md"
FIRST = ("nonce=", "tpm2_", "vtpmctl ", "cp ")
FROM_THE_KERNEL = "/sys/kernel/security/tpm0/binary_bios_measurements"


def commands() -> list[str]:
    """The lines of its examples that are commands, each whole."""
    text = DOCUMENT.read_text().replace("\\\n", "")
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    return [line for line in lines if line.startswith(FIRST)]


@pytest.fixture
def daemon(short_path: Path) -> Iterator[Daemon]:
    with running(short_path, "sockets: {data_socket: true}\n") as daemon:
        yield daemon


def test_from_create_to_a_policy(daemon: Daemon, tmp_path: Path) -> None:
    create, *others = commands()
    assert create == "vtpmctl create web1"
    environment = {
        **os.environ,
        "PATH": f"{COMMANDS}:{os.environ['PATH']}",
        "VTPMD_ADMIN_SOCKET": str(daemon.admin),
        "TPM2TOOLS_TCTI": f"swtpm:path={daemon.runtime}/web1.sock",
    }

    def typed(line: str) -> None:
        shell = ["sh", "-euc", line]
        done = subprocess.run(
            shell, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"

    typed(create)
    tools = Tools(daemon.instance("web1"), tmp_path)
    tools.restart()
    events = made.boot()
    for event in events:
        tools(f"pcrextend {event.pcr}:sha256={event.digest(made.SHA256).hex()}")
    (tmp_path / "measured").write_bytes(made.log(events))
    environment["nonce"] = ""
    for line in others:
        if line.startswith("nonce="):
            drawn = line.removeprefix("nonce=$(").removesuffix(")").split()
            environment["nonce"] = subprocess.check_output(drawn, text=True).strip()
            continue
        if "activatecredential" in line:  # it has come from the verifier
            (tmp_path / "credential.blob").write_bytes(tools.read("web1/credential.blob"))
        typed(line.replace(FROM_THE_KERNEL, "measured"))
        tools("flushcontext -t")
    assert "cmdline: /vmlinuz root=/dev/vda ro" in (tmp_path / "policy.yaml").read_text()
    judged = next(line for line in others if line.startswith("vtpmctl verify quote"))
    typed(f"{judged} --policy policy.yaml")
