"""The own authority's certificates and revocation lists, as OpenSSL takes them."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from tests.pki.foreign import REPORTED, pem
from tests.pki.made import make, new_key
from vtpmd.pki import authority
from vtpmd.pki.authority import Issuer, Terms
from vtpmd.pki.certificates import Certificates
from vtpmd.pki.entries import Revoked

AUTHORITY, TPM = UUID(int=1), "7d1f2b30-8f2e-4a55-9a7c-0123456789ab"
KINDS = ("rsa-2048", "ecc-p256", "ecc-p384")
URLS = Terms(ca_issuers_url="http://pki.example/ek.cer", crl_url="http://pki.example/ek.crl")


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def made() -> tuple[x509.Certificate, Issuer]:
    return make(AUTHORITY)


@pytest.fixture
def files(made: tuple[x509.Certificate, Issuer], tmp_path: Path) -> Path:
    (tmp_path / "root.pem").write_bytes(pem(made[0]))
    (tmp_path / "issuing.pem").write_bytes(pem(made[1].certificate))
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subject", [TPM, ""])
@pytest.mark.parametrize("terms", [Terms(), URLS, Terms(lifetime=30)])
def test_openssl_accepts_a_certificate(
    made: tuple[x509.Certificate, Issuer],
    files: Path,
    keys: dict[str, Any],
    kind: str,
    subject: str,
    terms: Terms,
) -> None:
    certificate = authority.issue(made[1], keys[kind], REPORTED, subject, terms)
    (files / "ek.pem").write_bytes(pem(certificate))
    verified = openssl(
        "verify", "-x509_strict", "-check_ss_sig", "-CAfile", files / "root.pem",
        "-untrusted", files / "issuing.pem", files / "ek.pem",
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    text = openssl("x509", "-in", files / "ek.pem", "-noout", "-text").stdout
    for line in (
        "2.23.133.8.1",
        "2.23.133.2.1=id:5654504D",
        "CA:FALSE",
        "Key Encipherment" if kind == "rsa-2048" else "Key Agreement",
        "X509v3 Subject Directory Attributes",
        "X509v3 Subject Alternative Name: " + ("" if subject else "critical"),
        f"Subject: {f'CN = {subject}' if subject else ''}",
        "Signature Algorithm: ecdsa-with-SHA384",
    ):
        assert line in text
    assert ("Sep" in text or "Dec 31 23:59:59 9999 GMT" in text) or terms.lifetime


def test_what_a_certificate_says(
    made: tuple[x509.Certificate, Issuer], keys: dict[str, Any]
) -> None:
    issuer = made[1]
    one = authority.issue(issuer, keys["rsa-2048"], REPORTED, TPM, URLS)
    other = authority.issue(issuer, keys["rsa-2048"], REPORTED, TPM, Terms(lifetime=30))
    assert one.serial_number != other.serial_number
    assert 0 < one.serial_number < 1 << 159
    assert [name.value for name in one.subject] == [TPM]
    age = datetime.now(UTC) - one.not_valid_before_utc
    assert timedelta(minutes=10) <= age < timedelta(minutes=11)
    assert one.not_valid_after_utc == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert other.not_valid_after_utc - other.not_valid_before_utc == timedelta(days=30)
    extensions = one.extensions
    own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert own == x509.SubjectKeyIdentifier.from_public_key(keys["rsa-2048"])
    above = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert above.key_identifier is not None
    assert above.key_identifier.hex() == authority.key_id(issuer.certificate)
    access = extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert [each.access_location.value for each in access] == [URLS.ca_issuers_url]
    with pytest.raises(x509.ExtensionNotFound):
        other.extensions.get_extension_for_oid(ExtensionOID.CRL_DISTRIBUTION_POINTS)


def test_a_revocation_list(
    made: tuple[x509.Certificate, Issuer], files: Path, keys: dict[str, Any]
) -> None:
    issuer = made[1]
    good, bad = (
        authority.issue(issuer, keys["ecc-p256"], REPORTED, TPM, Terms()) for _ in range(2)
    )
    revoked = [
        Revoked(serial=f"{bad.serial_number:x}", issuer="x", reason="key-compromise"),
        Revoked(serial="7f", issuer="x"),
    ]
    found = authority.revocation_list(issuer, revoked)
    (files / "crl.pem").write_bytes(found.public_bytes(Encoding.PEM))
    outcomes = {}
    for certificate in (good, bad):
        (files / "ek.pem").write_bytes(pem(certificate))
        outcomes[certificate] = openssl(
            "verify", "-x509_strict", "-crl_check", "-CAfile", files / "root.pem",
            "-untrusted", files / "issuing.pem", "-CRLfile", files / "crl.pem", files / "ek.pem",
        )  # fmt: skip
    assert outcomes[good].returncode == 0, outcomes[good].stderr
    assert "certificate revoked" in outcomes[bad].stderr
    text = openssl("crl", "-in", files / "crl.pem", "-noout", "-text").stdout
    assert text.count("Key Compromise") == 1
    assert text.count("Revocation Date") == 2


def test_a_subordinate_authority_of_openssl(tmp_path: Path, keys: dict[str, Any]) -> None:
    key = new_key()
    request = authority.request(AUTHORITY, key)
    (tmp_path / "sub.csr").write_bytes(request.public_bytes(Encoding.PEM))
    made = openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes",
        "-subj", "/CN=root", "-keyout", tmp_path / "root.key", "-out", tmp_path / "root.pem",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    signed = openssl(
        "x509", "-req", "-in", tmp_path / "sub.csr", "-CA", tmp_path / "root.pem", "-CAkey",
        tmp_path / "root.key", "-copy_extensions", "copy", "-days", "30", "-out",
        tmp_path / "issuing.pem",
    )  # fmt: skip
    assert signed.returncode == 0, signed.stderr
    certificate = x509.load_pem_x509_certificate((tmp_path / "issuing.pem").read_bytes())
    root = x509.load_pem_x509_certificate((tmp_path / "root.pem").read_bytes())
    assert certificate.public_key() == key.public_key()
    ek = authority.issue(
        Issuer(certificate, (root,), key), keys["ecc-p384"], REPORTED, TPM, Terms()
    )
    (tmp_path / "ek.pem").write_bytes(pem(ek))
    verified = openssl(
        "verify", "-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "issuing.pem",
        tmp_path / "ek.pem",
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr


def test_two_hosts_have_authorities_of_other_names() -> None:
    one, other = make(UUID(int=1 << 100))[0], make(UUID(int=2 << 100))[0]
    assert one.subject != other.subject
    assert one.subject.get_attributes_for_oid(NameOID.COMMON_NAME)


def test_certificates_as_a_file_and_for_nv(
    made: tuple[x509.Certificate, Issuer], keys: dict[str, Any]
) -> None:
    root, issuer = made
    leaves = {
        kind: authority.issue(issuer, key, REPORTED, TPM, Terms()) for kind, key in keys.items()
    }
    certificates = Certificates(leaves, issuer.chain)
    assert Certificates.from_pem(certificates.pem) == certificates
    in_nv, chain = certificates.for_nv
    assert {kind: x509.load_der_x509_certificate(each) for kind, each in in_nv.items()} == leaves
    assert [x509.load_der_x509_certificate(each) for each in chain] == [issuer.certificate]
    assert root in certificates.chain
    assert all(len(each) < 2048 for each in (*in_nv.values(), *chain))
    assert isinstance(leaves["rsa-2048"].public_key(), rsa.RSAPublicKey)
    assert isinstance(leaves["ecc-p384"].public_key(), ec.EllipticCurvePublicKey)
