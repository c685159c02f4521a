"""The own authority: what it revokes, whose it is, and what it does without its files."""

import base64
import hashlib
import json
from pathlib import Path

from cryptography import x509

from tests.operations.certificates import KINDS, REFUSED, certificate, keys
from tests.pki.foreign import public
from tests.pki.test_authority import openssl
from tests.supervisor.harness import Daemon, running
from vtpmd.storage.envelope import Envelope, parse


def test_revoked_and_told(daemon: Daemon, tmp_path: Path) -> None:
    daemon.control("create", "web1", "--no-start")
    daemon.control("create", "web2", "--no-start")
    listed = daemon.control("ca", "list")["certificates"]
    serial = next(each["serial"] for each in listed if each["kind"] == "ecc-p384")
    assert daemon.control("ca", "revoke", serial, "--reason", "superseded")["revoked"] == [serial]
    assert len(daemon.control("ca", "revoke", "web2")["revoked"]) == 3
    assert daemon.control("ca", "revoke", "web2")["revoked"] == []
    assert daemon.ctl("ca", "revoke", "nobody").returncode == 5
    assert daemon.ctl("ca", "revoke", "web1", "--reason", "whim").returncode == 2
    info = daemon.control("ek", "show", "web1")
    shown = keys(info)
    assert [shown[kind]["state"] for kind in KINDS] == ["valid", "valid", "revoked"]
    assert daemon.control("info", "web1")["certificates"] == "stale: ecc-p384 is revoked"
    (row,) = [row for row in daemon.text("ca", "list").splitlines() if row.startswith(serial)]
    digest = hashlib.sha256(public(certificate(info, "ecc-p384").public_key())).hexdigest()
    assert [digest in row, "never" in row, row.endswith(": superseded")] == [True] * 3
    daemon.control("ca", "crl", str(tmp_path / "crl"))
    (tmp_path / "root.pem").write_text(daemon.text("ca", "show", "--root"))
    (tmp_path / "issuing.pem").write_text(daemon.text("ca", "show", "--issuing"))
    for kind in KINDS:
        (tmp_path / "ek.pem").write_text(shown[kind]["certificate"])
        verified = openssl(
            "verify", "-crl_check", "-CAfile", tmp_path / "root.pem", "-untrusted",
            tmp_path / "issuing.pem", "-CRLfile", tmp_path / "crl", tmp_path / "ek.pem",
        )  # fmt: skip
        assert (verified.returncode == 0) is (kind != "ecc-p384")
    daemon.control("ek", "renew", "web1")
    assert daemon.control("info", "web1")["certificates"] == "valid"
    daemon.restart()
    assert sum(bool(each["revoked"]) for each in daemon.control("ca", "list")["certificates"]) == 4


def test_below_an_authority_of_ones_own(daemon: Daemon, tmp_path: Path) -> None:
    daemon.control("create", "web1", "--no-start")
    assert daemon.ctl("ca", "import", __file__).returncode == REFUSED  # nothing was requested
    daemon.control("ca", "csr", str(tmp_path / "ca.csr"))
    daemon.control("ca", "csr", str(tmp_path / "again.csr"))
    subjects = [
        x509.load_pem_x509_csr((tmp_path / name).read_bytes()).public_key()
        for name in ("ca.csr", "again.csr")
    ]
    assert subjects[0] == subjects[1]  # whoever asks twice may take the answer to either
    made = openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-subj",
        "/CN=company", "-keyout", tmp_path / "root.key", "-out", tmp_path / "root.pem", "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    done = openssl(
        "x509", "-req", "-in", tmp_path / "ca.csr", "-CA", tmp_path / "root.pem", "-CAkey",
        tmp_path / "root.key", "-copy_extensions", "copy", "-days", "30", "-out",
        tmp_path / "issuing.pem",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    old = daemon.control("ca", "show")
    issuing = (tmp_path / "issuing.pem").read_text()
    (tmp_path / "alone.pem").write_text(issuing)
    assert daemon.ctl("ca", "import", str(tmp_path / "alone.pem")).returncode == REFUSED
    (tmp_path / "chain.pem").write_text((tmp_path / "root.pem").read_text() + issuing)
    new = daemon.control("ca", "import", str(tmp_path / "chain.pem"))
    assert new["issuing"] != old["issuing"]
    assert x509.load_pem_x509_certificate(new["root"].encode()) == x509.load_pem_x509_certificate(
        (tmp_path / "root.pem").read_bytes()
    )
    daemon.restart()
    daemon.control("ek", "renew", "web1")
    (tmp_path / "ek.pem").write_text(
        keys(daemon.control("ek", "show", "web1"))["ecc-p384"]["certificate"]
    )
    verified = openssl(
        "verify", "-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "issuing.pem",
        tmp_path / "ek.pem",
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    daemon.control("ca", "crl", str(tmp_path / "crl"))
    assert (tmp_path / "crl").read_text().count("BEGIN X509 CRL") == 2


def sealed_under(daemon: Daemon) -> Envelope:
    """The envelope of the authority's keys."""
    document = json.loads((daemon.state / "ca" / "authority").read_bytes())
    return parse(base64.b64decode(document["sealed"]))


def test_looking_makes_no_authority(daemon: Daemon) -> None:
    for words in (("show",), ("rekey",), ("list",)):
        done = daemon.ctl("ca", *words)
        assert done.returncode == (0 if words == ("list",) else 5)
        assert not (daemon.state / "ca" / "authority").exists()


def test_its_key_moves_to_another_key_provider(root: Path) -> None:
    rings = ", ".join(
        f"{{type: local, name: {name}, keyring: {root}/state/{name}}}" for name in ("old", "new")
    )
    with running(root, f"key_providers: [{rings}]\ndefault_provider: old\n") as daemon:
        daemon.control("create", "web1", "--no-start")
        shown, before = daemon.control("ca", "show"), sealed_under(daemon)
        assert daemon.ctl("ca", "rekey", "--to-provider", "absent").returncode == 8
        (again,) = daemon.control("ca", "rekey")["keys"]
        assert again["provider"] == "old"
        assert sealed_under(daemon).header.dek_id != before.header.dek_id
        (moved,) = daemon.control("ca", "rekey", "--to-provider", "new")["keys"]
        assert moved["provider"] == "new"
        assert [slot.provider for slot in sealed_under(daemon).slots] == ["new"]
        daemon.control("rekey", "--all", "--to-provider", "new")
        daemon.end()
        (root / "state" / "old").unlink()
        daemon.start()
        assert daemon.control("ca", "show") == shown
        daemon.control("ek", "renew", "web1")
        assert "now under new " in daemon.text("ca", "rekey")


def test_without_its_key_no_certificate_and_no_instance(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    (daemon.state / "keyring").rename(daemon.directory / "elsewhere")
    assert daemon.ctl("create", "web2").returncode == 8
    assert daemon.ctl("ek", "renew", "web1").returncode == 8
    assert daemon.ctl("ca", "crl", str(daemon.directory / "crl")).returncode == 8
    assert daemon.ctl("ca", "show").returncode == 0
    (daemon.directory / "elsewhere").rename(daemon.state / "keyring")
    assert [info["name"] for info in daemon.control("list")["instances"]] == ["web1"]
    assert len(list((daemon.state / "instances").iterdir())) == 1
    assert daemon.control("info", "web1")["certificates"] == "valid"


def test_a_damaged_ledger_is_told_and_left_alone(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    ledger = daemon.state / "ca" / "ledger"
    content = b"nonsense\n" + ledger.read_bytes()
    daemon.end()
    ledger.write_bytes(content)
    daemon.start()
    refused = daemon.ctl("create", "web2")
    assert (refused.returncode, "ledger, line 1" in refused.stderr) == (10, True)
    assert "ledger, line 1" in daemon.control("info", "web1")["certificates"]
    daemon.control("start", "web1")
    assert ledger.read_bytes() == content
    assert len(list((daemon.state / "instances").iterdir())) == 1
