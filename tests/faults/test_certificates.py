"""The daemon killed amid a renewal, an import, and the making of the authority: old or new."""

import base64
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.conformance.tools import Tools
from tests.faults.bystander import Bystander
from tests.faults.tracing import Call, calls, killing, needs_tracing, traced
from tests.peers.client import PeerError
from tests.peers.vtpmd import Vtpmd
from tests.pki.foreign import Authority, der, pem

ACTS = ("mkdirat", "fsync", "rename,renameat,renameat2", "sendmsg", "unlinkat", "pwrite64")
"""What such an operation does to files and processes; the rest of its system calls only looks."""
INDICES = {"rsa-2048": "0x1c00002", "ecc-p256": "0x1c0000a", "ecc-p384": "0x1c00016"}

Ask = Callable[[], tuple[int, Any]]


def points_of(daemon: Vtpmd, log: Path, ask: Ask) -> list[Call]:
    """Where the daemon can be killed while it does what is asked."""
    with traced(daemon.process(), log, "-f"):
        status, answer = ask()
        assert status < 300, answer
    found = calls(log)
    return [
        (name, count)
        for act in ACTS
        for name in act.split(",")
        for count in sorted({count for called, count in found if called == name})
    ]


def killed_at(daemon: Vtpmd, log: Path, point: Call, ask: Ask) -> None:
    """Ask, let the daemon be killed at a point, or by hand if it does not come to that; restart."""
    with traced(daemon.process(), log, *killing(point, "-f")):
        with contextlib.suppress(OSError, PeerError, ValueError):
            ask()
        daemon.end()
    daemon.start()


def certificates(daemon: Vtpmd, name: str) -> list[bytes]:
    keys = daemon.control("ek", "show", name)["keys"]
    return [
        der(x509.load_pem_x509_certificate(key["certificate"].encode()))
        for key in sorted(keys, key=lambda key: str(key["kind"]))
    ]


def in_nv(tools: Tools) -> list[bytes]:
    return [tools(f"nvread {INDICES[kind]} -C o") for kind in sorted(INDICES)]


def known(daemon: Vtpmd) -> set[str]:
    return {each["serial"] for each in daemon.control("ca", "list")["certificates"]}


def serials(octets: Sequence[bytes]) -> set[str]:
    return {f"{x509.load_der_x509_certificate(each).serial_number:x}" for each in octets}


@pytest.mark.slow
@needs_tracing
@pytest.mark.parametrize(("how", "served"), [("renew", True), ("renew", False), ("import", True)])
def test_daemon_killed_amid_a_renewal(
    daemon: Vtpmd, tmp_path: Path, how: str, served: bool
) -> None:
    log = tmp_path / "strace"
    name = daemon.create("web1").info()["name"]
    tools = Tools(daemon.instance(name), tmp_path)

    def renew() -> tuple[int, Any]:
        request = brought() if how == "import" else {}
        return daemon.request("POST", f"/instances/{name}/ek/{how}", request)

    def brought() -> dict[str, Any]:
        made = pem(theirs.certificate, *(theirs.certify(key) for key in keys))
        return {"files": {"all.pem": base64.b64encode(made).decode()}}

    theirs = Authority("their root")
    keys = [
        load_pem_public_key(key["public_key"].encode())
        for key in daemon.control("ek", "show", name)["keys"]
    ]

    def rest() -> None:
        if not served:
            daemon.control("stop", name)

    rest()
    points = points_of(daemon, log, renew)
    outcomes = set()
    with Bystander(daemon.create("web2")) as bystander:
        for point in points:
            daemon.control("start", name)
            before = in_nv(tools)
            rest()
            killed_at(daemon, log, point, renew)
            daemon.control("start", name)
            after = in_nv(tools)
            assert daemon.control("info", name)["certificates"] == "valid"
            assert certificates(daemon, name) == after
            assert after == before or not set(after) & set(before)
            assert serials(after) <= known(daemon)
            outcomes.add(after == before)
            bystander.check()
    assert outcomes == {True, False}


@pytest.mark.slow
@needs_tracing
def test_daemon_killed_while_it_makes_the_authority(daemon: Vtpmd, tmp_path: Path) -> None:
    """Afterwards there is a whole one, or none, and it serves for the next TPM."""
    log = tmp_path / "strace"
    authority = daemon.state / "ca" / "authority"

    def make() -> tuple[int, Any]:
        return daemon.request("POST", "/ca/crl")

    points = points_of(daemon, log, make)
    outcomes = set()
    for point in points:
        authority.unlink(missing_ok=True)
        killed_at(daemon, log, point, make)
        made = authority.read_bytes() if authority.exists() else None
        assert make()[0] == 200
        root = daemon.text("ca", "show", "--root")
        assert root.startswith("-----BEGIN CERTIFICATE-----")
        assert made is None or authority.read_bytes() == made
        outcomes.add(made is None)
    assert outcomes == {True, False}
    instance = daemon.create("web1")
    assert instance.info()["certificates"] == "valid"
