"""What the tests of certificates share: what is in NV, and daemons with other authorities."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.conformance.tools import Tools
from tests.peers.vtpmd import Vtpmd
from tests.pki.test_authority import openssl
from tests.supervisor.harness import Daemon, running

KINDS = ("rsa-2048", "ecc-p256", "ecc-p384")
INDICES = {"rsa-2048": "0x1c00002", "ecc-p256": "0x1c0000a", "ecc-p384": "0x1c00016"}
CHAIN = "0x1c00100"
REFUSED, UNREADABLE, UNCONFIRMED, ELSEWHERE = 12, 13, 11, 10
SOCKETS = "sockets: {data_socket: true}\n"


def keys(info: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The EKs in the report of `ek show`, by kind."""
    return {key["kind"]: key for key in info["keys"]}


def certificate(info: dict[str, Any], kind: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(keys(info)[kind]["certificate"].encode())


def in_nv(tools: Tools) -> dict[str, bytes]:
    """What tpm2_nvread finds, by kind."""
    found = {}
    for kind, index in {**INDICES, "chain": CHAIN}.items():
        if index.lower() in tools.text("getcap handles-nv-index").lower():
            found[kind] = tools(f"nvread {index} -C o")
    return found


def tools_for(daemon: Vtpmd, name: str, directory: Path) -> Tools:
    return Tools(daemon.instance(name), directory)


@pytest.fixture
def external(root: Path) -> Iterator[Daemon]:
    """A daemon that leaves certificates to somebody else."""
    with running(root, f"{SOCKETS}identity: {{ca: external}}") as daemon:
        yield daemon


@pytest.fixture
def bare(root: Path) -> Iterator[Daemon]:
    """A daemon that knows nothing of certificates."""
    with running(root, f"{SOCKETS}identity: {{ca: none}}") as daemon:
        yield daemon


def reconfigured(daemon: Daemon, identity: str) -> None:
    daemon.end()
    text = daemon.configuration.read_text()
    kept = [line for line in text.splitlines() if not line.startswith("identity:")]
    daemon.configuration.write_text("\n".join([*kept, f"identity: {identity}", ""]))
    daemon.start()


def signed(directory: Path, daemon: Vtpmd, name: str, *more: str) -> list[Path]:
    """Certificates that `openssl x509 -req` makes of the requests of an instance."""
    made = openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=their root", "-keyout",
        directory / "root.key", "-out", directory / "root.pem", "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    daemon.control("ek", "csr", name, "--out", str(directory))
    paths = []
    for kind in KINDS:
        request = directory / f"{name}-{kind}.csr"
        assert openssl("req", "-in", request, "-verify", "-noout").returncode == 0
        path = directory / f"{name}-{kind}.pem"
        done = openssl(
            "x509", "-req", "-in", request, "-CA", directory / "root.pem", "-CAkey",
            directory / "root.key", "-copy_extensions", "copy", "-days", "30", "-out", path, *more,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        paths.append(path)
    return paths
