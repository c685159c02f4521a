"""The own authority: how its certificates, those of EKs, requests and revocation lists are made.

Keys are ECDSA P-384. Who holds them, and for how long, is not decided here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from .contents import EkKey, Reported, extensions
from .entries import Revoked
from .private_key import Key

NO_END: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""What RFC 5280, 4.1.2.5, has for certificates that do not expire."""
BACKDATED: Final = timedelta(minutes=10)
"""How long certificates have been valid when they are made: clocks differ."""
NEXT_UPDATE: Final = timedelta(days=30)
"""How long a revocation list is current."""
_ORGANIZATION: Final = "vtpmd"
_HASH: Final = SHA384()


@dataclass(frozen=True)
class Terms:
    """What the configuration says of EK certificates; `lifetime` in days, None for no end."""

    lifetime: int | None = None
    ca_issuers_url: str | None = None
    crl_url: str | None = None


@dataclass(frozen=True)
class Issuer:
    """An issuing CA: its certificate, those above it up to the root, and its key."""

    certificate: x509.Certificate
    above: Sequence[x509.Certificate]
    key: Key

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """From the issuer to the root."""
        return (self.certificate, *self.above)


def key_id(certificate: x509.Certificate) -> str:
    """The subject key identifier of an authority, in hexadecimal: what the ledger calls it."""
    return _key_identifier(certificate).digest.hex()


def make(uuid: UUID, root_key: Key, key: Key) -> tuple[x509.Certificate, Issuer]:
    """A root, and an issuing CA below it; `uuid` tells them from other hosts'."""
    root_name, name = _name("root CA", uuid), _name("EK CA", uuid)
    root = _authority(root_name, root_key, root_name, root_key, path_length=1)
    certificate = _authority(name, key, root_name, root_key, path_length=0)
    return root, Issuer(certificate, (root,), key)


def request(uuid: UUID, key: Key) -> x509.CertificateSigningRequest:
    """A request for an issuing CA below somebody else's."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name("EK CA", uuid))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(_signing(), critical=True).sign(key, _HASH)


def issue(
    issuer: Issuer, key: EkKey, reported: Reported, subject: str, terms: Terms
) -> x509.Certificate:
    """An EK certificate; `subject` is the common name, empty for none."""
    begin = _beginning()
    end = NO_END if terms.lifetime is None else begin + timedelta(days=terms.lifetime)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(_common_name(subject) if subject else []))
        .issuer_name(issuer.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(_issuer_identifier(issuer), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    for extension, critical in extensions(key, reported, has_subject=bool(subject)):
        builder = builder.add_extension(extension, critical)
    if terms.ca_issuers_url is not None:
        builder = builder.add_extension(_ca_issuers(terms.ca_issuers_url), critical=False)
    if terms.crl_url is not None:
        builder = builder.add_extension(_crl_point(terms.crl_url), critical=False)
    return builder.sign(issuer.key, _HASH)


def revocation_list(issuer: Issuer, revoked: Sequence[Revoked]) -> x509.CertificateRevocationList:
    """The list of what this issuer has revoked, current for `NEXT_UPDATE`."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(_beginning())
        .next_update(now + NEXT_UPDATE)
        .add_extension(_issuer_identifier(issuer), critical=False)
        .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
    )
    for each in revoked:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(int(each.serial, 16))
            .revocation_date(each.time)
        )
        if each.reason != "unspecified":  # RFC 5280, 5.3.1: left out then
            reason = x509.CRLReason(x509.ReasonFlags[each.reason.replace("-", "_")])
            entry = entry.add_extension(reason, critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, _HASH)


def _authority(
    name: x509.Name, key: Key, issuer_name: x509.Name, issuer_key: Key, *, path_length: int
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_beginning())
        .not_valid_after(NO_END)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_signing(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer_key is not key:
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        builder = builder.add_extension(above, critical=False)
    return builder.sign(issuer_key, _HASH)


def _signing() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _beginning() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - BACKDATED


def _name(role: str, uuid: UUID) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION)
    return x509.Name([organization, *_common_name(f"vtpmd {role} {str(uuid)[:8]}")])


def _common_name(text: str) -> list[x509.NameAttribute[str]]:
    return [x509.NameAttribute(NameOID.COMMON_NAME, text)]


def _key_identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    """Its subject key identifier; where an authority has given it none, one of its own."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return x509.SubjectKeyIdentifier.from_public_key(key)


def _issuer_identifier(issuer: Issuer) -> x509.AuthorityKeyIdentifier:
    identifier = _key_identifier(issuer.certificate)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _ca_issuers(url: str) -> x509.AuthorityInformationAccess:
    location = x509.UniformResourceIdentifier(url)
    description = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, location)
    return x509.AuthorityInformationAccess([description])


def _crl_point(url: str) -> x509.CRLDistributionPoints:
    location = x509.UniformResourceIdentifier(url)
    point = x509.DistributionPoint([location], relative_name=None, reasons=None, crl_issuer=None)
    return x509.CRLDistributionPoints([point])
