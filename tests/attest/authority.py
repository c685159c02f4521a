"""A certificate authority of the tests' own, for the keys of TPMs; all of it by pyca."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

EK_PURPOSE = x509.ObjectIdentifier("2.23.133.8.1")
AK_PURPOSE = x509.ObjectIdentifier("2.23.133.8.3")
NOW = datetime.now(UTC).replace(microsecond=0)
_DAY = timedelta(days=1)
Signer = ec.EllipticCurvePrivateKey
Public = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True)
class Authority:
    """A CA: its certificate and its key."""

    certificate: x509.Certificate
    key: Signer

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def _usage(**used: bool) -> x509.KeyUsage:
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: used.get(name, False) for name in every})


def _issued(
    subject: x509.Name,
    public: Public,
    issuer: x509.Name,
    signer: Signer,
    extensions: list[tuple[Any, bool]],
    begin: datetime = NOW - _DAY,
    end: datetime = NOW + _DAY,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA384())


@cache
def root(name: str = "root", is_ca: bool = True, may_issue: bool = True) -> Authority:
    """A CA that has signed itself."""
    key = ec.generate_private_key(ec.SECP384R1())
    extensions = [
        (x509.BasicConstraints(is_ca, None), True),
        (_usage(key_cert_sign=may_issue, digital_signature=not may_issue), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ]
    subject = named(name)
    return Authority(_issued(subject, key.public_key(), subject, key, extensions), key)


@cache
def issuing(above: Authority, is_ca: bool = True, may_issue: bool = True) -> Authority:
    """A CA below another."""
    key = ec.generate_private_key(ec.SECP384R1())
    extensions = [
        (x509.BasicConstraints(is_ca, 0 if is_ca else None), True),
        (_usage(key_cert_sign=may_issue, digital_signature=not may_issue), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(above.key.public_key()), False),
    ]
    subject = above.certificate.subject
    made = _issued(named("issuing"), key.public_key(), subject, above.key, extensions)
    return Authority(made, key)


def leaf(
    by: Authority,
    public: Public,
    purpose: x509.ObjectIdentifier | None = EK_PURPOSE,
    *,
    is_ca: bool | None = False,
    usage: str | None = "",
    subject: str = "",
    begin: datetime = NOW - _DAY,
    end: datetime = NOW + _DAY,
) -> bytes:
    """A certificate of a TPM's key, in DER, as the EK Credential Profile has it."""
    model = x509.Name(
        [
            x509.NameAttribute(x509.ObjectIdentifier(f"2.23.133.2.{number}"), text)
            for number, text in ((1, "id:00001014"), (2, "test"), (3, "id:00000001"))
        ]
    )
    extensions: list[tuple[Any, bool]] = [
        (x509.SubjectAlternativeName([x509.DirectoryName(model)]), not subject),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), False),
    ]
    if purpose is not None:
        extensions.append((x509.ExtendedKeyUsage([purpose]), False))
    if is_ca is not None:
        extensions.append((x509.BasicConstraints(is_ca, None), True))
    if usage is not None:
        fitting = "key_encipherment" if isinstance(public, rsa.RSAPublicKey) else "key_agreement"
        if purpose == AK_PURPOSE:
            fitting = "digital_signature"
        extensions.append((_usage(**{usage or fitting: True}), True))
    above = by.certificate.subject
    made = _issued(named(subject), public, above, by.key, extensions, begin, end)
    return made.public_bytes(Encoding.DER)


def in_pem(*certificates: bytes) -> bytes:
    """Certificates in DER, as one file in PEM."""
    return b"".join(
        x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in certificates
    )
