"""Certificates of instances as guests, other programs and `ek show` see them."""

import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from tests.conformance.tools import CLEAR_BY_PLATFORM, reset
from tests.operations.certificates import INDICES, KINDS, certificate, in_nv, keys, tools_for
from tests.pki.foreign import der, pem
from tests.pki.test_authority import openssl
from tests.supervisor.harness import Daemon, running


def test_other_programs_accept_them(daemon: Daemon, tmp_path: Path) -> None:
    """tpm2-tools read the same octets that OpenSSL verifies."""
    info = daemon.control("create", "web1")
    assert daemon.control("info", "web1")["certificates"] == "valid"
    tools = tools_for(daemon, "web1", tmp_path)
    tools("getekcertificate -X -o rsa.der -o ecc.der")
    found = in_nv(tools)
    assert (tmp_path / "rsa.der").read_bytes() == found["rsa-2048"]
    assert (tmp_path / "ecc.der").read_bytes() in (found["ecc-p256"], found["ecc-p384"])
    for part in ("root", "issuing"):
        (tmp_path / f"{part}.pem").write_text(daemon.text("ca", "show", f"--{part}"))
    issuing = x509.load_pem_x509_certificate((tmp_path / "issuing.pem").read_bytes())
    assert found["chain"] == der(issuing)
    shown = daemon.control("ek", "show", "web1")
    for kind in KINDS:
        (tmp_path / "ek.der").write_bytes(found[kind])
        verified = openssl(
            "verify", "-x509_strict", "-CAfile", tmp_path / "root.pem",
            "-untrusted", tmp_path / "issuing.pem", tmp_path / "ek.der",
        )  # fmt: skip
        assert verified.returncode == 0, verified.stderr
        leaf = x509.load_der_x509_certificate(found[kind])
        assert leaf == certificate(shown, kind)
        assert [name.value for name in leaf.subject] == [info["uuid"]]
    assert [keys(shown)[kind]["state"] for kind in KINDS] == ["valid"] * 3
    assert pem(issuing).decode() in daemon.text("ek", "show", "web1", "--pem")


@pytest.mark.parametrize(("alg", "kind"), [("rsa", "rsa-2048"), ("ecc", "ecc-p256")])
def test_the_certified_key_is_the_ek_of_a_guest(
    daemon: Daemon, tmp_path: Path, alg: str, kind: str
) -> None:
    daemon.control("create", "web1")
    tools = tools_for(daemon, "web1", tmp_path)
    tools(f"createek -c ek.ctx -G {alg} -u ek.pem -f pem")
    text = keys(daemon.control("ek", "show", "web1"))[kind]["public_key"]
    assert (tmp_path / "ek.pem").read_text() == text
    assert daemon.text("ek", "csr", "web1", "--public", "--kind", kind) == text


def test_nothing_that_a_guest_does_reaches_them(daemon: Daemon, tmp_path: Path) -> None:
    daemon.control("create", "web1")
    tools = tools_for(daemon, "web1", tmp_path)
    before = in_nv(tools)
    reset(daemon.instance("web1"), CLEAR_BY_PLATFORM)
    tools("clear -c l")
    for index in INDICES.values():
        tools.refused(0x149, f"nvundefine {index} -C o")
        tools.refused(0x148, f"nvwrite {index} -C p -i -", given=b"x")
    assert in_nv(tools) == before
    assert daemon.control("info", "web1")["certificates"] == "valid"


def test_clones(daemon: Daemon) -> None:
    """A copy keeps them; a replacement has its own."""
    daemon.control("create", "a")
    daemon.control("clone", "a", "copy", "--policy", "copy")
    daemon.control("clone", "a", "new", "--policy", "replace")
    shown = {name: daemon.control("ek", "show", name) for name in ("a", "copy", "new")}
    assert {each["certificates"] for each in shown.values()} == {"valid"}
    for kind in KINDS:
        assert certificate(shown["a"], kind) == certificate(shown["copy"], kind)
        assert (
            certificate(shown["new"], kind).public_key()
            != certificate(shown["a"], kind).public_key()
        )
    assert shown["copy"]["identity"] == shown["a"]["identity"] != shown["new"]["identity"]
    daemon.control("ek", "renew", "copy")  # of the identity, whose name is in it
    renewed = certificate(daemon.control("ek", "show", "copy"), "rsa-2048")
    assert [name.value for name in renewed.subject] == [shown["a"]["uuid"]]
    assert daemon.control("info", "a")["certificates"] == "valid"


def test_backup_and_restore_carry_them(daemon: Daemon, tmp_path: Path) -> None:
    daemon.control("create", "web1")
    daemon.control("backup", "web1", str(tmp_path / "bundle"))
    before = daemon.control("ek", "show", "web1")
    daemon.control("ek", "renew", "web1")
    daemon.control("stop", "web1")
    daemon.control("restore", str(tmp_path / "bundle"), "--replace", "--yes", "--start")
    assert daemon.control("ek", "show", "web1") == before
    daemon.control("ek", "renew", "web1")
    assert daemon.control("info", "web1")["certificates"] == "valid"


def test_what_a_crash_left_is_settled_by_what_is_in_nv(daemon: Daemon) -> None:
    uuid = daemon.control("create", "web1")["uuid"]
    files = daemon.state / "instances" / uuid
    older = (files / "ek.pem").read_bytes()
    daemon.control("ek", "renew", "web1")
    newer = (files / "ek.pem").read_bytes()
    for present, following in ((older, newer), (newer, older)):
        (files / "ek.pem").write_bytes(present)
        (files / "ek-next.pem").write_bytes(following)
        (files / "ek-next.pem").chmod(0o600)
        assert daemon.control("info", "web1")["certificates"] == "valid"
        assert (files / "ek.pem").read_bytes() == newer
        assert not (files / "ek-next.pem").exists()


def test_what_is_configured_is_in_them(root: Path) -> None:
    identity = (
        "{keys: [ecc-p256], subject: empty, lifetime: 30, "
        "ca_issuers_url: 'http://pki/ek.cer', crl_url: 'http://pki/ek.crl'}"
    )
    with running(root, f"identity: {identity}") as daemon:
        daemon.control("create", "web1", "--no-start")
        shown = daemon.control("ek", "show", "web1")
        assert list(keys(shown)) == ["ecc-p256"]
        leaf = certificate(shown, "ecc-p256")
        assert list(leaf.subject) == []
        assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days == 30
        text = subprocess.run(
            ["openssl", "x509", "-noout", "-text"], input=pem(leaf), capture_output=True, check=True
        ).stdout.decode()
        assert "CA Issuers - URI:http://pki/ek.cer" in text
        assert "URI:http://pki/ek.crl" in text
        assert "X509v3 Subject Alternative Name: critical" in text
