"""A daemon without a network certifies, revokes and imports: nobody is asked."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.certificates import KINDS, certificate, in_nv, signed, tools_for
from tests.peers.vtpmd import COMMANDS, Vtpmd
from tests.pki.foreign import der

ALONE = ("unshare", "--map-current-user", "--net")
URLS = "{ca_issuers_url: http://pki.example/ek.cer, crl_url: http://pki.example/ek.crl}"


@pytest.fixture
def alone(root: Path) -> Iterator[Vtpmd]:
    """A daemon in a network namespace of its own, in which no interface is up."""
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("no network namespace can be made here")
    commands = root / "commands"
    commands.mkdir()
    (commands / "vtpmctl").symlink_to(COMMANDS / "vtpmctl")
    (commands / "vtpmd").write_text(f'#!/bin/sh\nexec {" ".join(ALONE)} {COMMANDS}/vtpmd "$@"\n')
    (commands / "vtpmd").chmod(0o755)
    more = f"sockets: {{data_socket: true}}\nidentity: {URLS}\n"
    daemon = Vtpmd(root, as_root=True, more=more, commands=commands)
    try:
        yield daemon
    finally:
        daemon.close()


def test_identity_needs_no_network(alone: Vtpmd, tmp_path: Path) -> None:
    own = Path("/proc/self/ns/net").readlink()
    assert Path(f"/proc/{alone.process()}/ns/net").readlink() != own
    alone.control("create", "web1")
    tools = tools_for(alone, "web1", tmp_path)
    made = alone.control("ek", "show", "web1")
    renewed = alone.control("ek", "renew", "web1")
    paths = [str(path) for path in signed(tmp_path, alone, "web1")]
    imported = alone.control("ek", "import", "web1", *paths, str(tmp_path / "root.pem"))
    for info in (made, renewed, imported):
        assert info["certificates"] == "valid"
    shown = {kind: der(certificate(imported, kind)) for kind in KINDS}
    assert {kind: in_nv(tools)[kind] for kind in KINDS} == shown
    assert der(certificate(renewed, "ecc-p256")) != der(certificate(made, "ecc-p256"))
    assert len(alone.control("ca", "revoke", "web1")["revoked"]) == 6
    alone.control("ca", "crl", str(tmp_path / "crl"))
    alone.control("ca", "csr", str(tmp_path / "csr"))
    alone.control("ca", "rekey")
