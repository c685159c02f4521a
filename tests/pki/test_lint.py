"""What pkilint's `lint_pkix_cert` finds in the authority's certificates (RFC 5280): nothing."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.oid import ExtensionOID

from tests.pki.foreign import REPORTED, pem
from tests.pki.made import make
from tests.pki.test_authority import AUTHORITY, KINDS, TPM, URLS
from vtpmd.pki import authority
from vtpmd.pki.authority import Terms

FORMS = {"subject": (TPM, Terms()), "none": ("", URLS)}


def findings(file: Path, certificate: x509.Certificate) -> str:
    """What it finds, but for remarks on what may be so or otherwise."""
    file.write_bytes(pem(certificate))
    command = [sys.executable, "-m", "pkilint.bin.lint_pkix_cert", "lint", "-s", "NOTICE"]
    done = subprocess.run([*command, file], capture_output=True, text=True)
    assert done.stderr == ""
    assert bool(done.stdout.strip()) is bool(done.returncode)
    return done.stdout.strip()


def test_the_authority(tmp_path: Path) -> None:
    root, issuer = make(AUTHORITY)
    for certificate in (root, issuer.certificate):
        assert findings(tmp_path / "ca.pem", certificate) == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_ek_certificates(tmp_path: Path, keys: dict[str, Any], kind: str, form: str) -> None:
    _, issuer = make(AUTHORITY)
    subject, terms = FORMS[form]
    certificate = authority.issue(issuer, keys[kind], REPORTED, subject, terms)
    assert findings(tmp_path / "ek.pem", certificate) == ""


def test_it_finds_what_is_wrong(tmp_path: Path, keys: dict[str, Any]) -> None:
    """Without a subject, and its alternative name not critical (RFC 5280, 4.1.2.6)."""
    _, issuer = make(AUTHORITY)
    good = authority.issue(issuer, keys["ecc-p256"], REPORTED, "", Terms())
    builder = x509.CertificateBuilder(
        good.issuer,
        good.subject,
        keys["ecc-p256"],
        good.serial_number,
        good.not_valid_before_utc,
        good.not_valid_after_utc,
    )
    for each in good.extensions:
        critical = each.critical and each.oid != ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        builder = builder.add_extension(each.value, critical)
    bad = builder.sign(issuer.key, SHA384())
    assert "san_extension_not_critical_empty_subject" in findings(tmp_path / "bad.pem", bad)
