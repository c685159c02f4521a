"""Certificates of endorsement and attestation keys (TCG EK Credential Profile 2.6).

Nothing is fetched: issuers between a certificate and the given roots have to be in its file, and
nobody is asked whether a certificate has been revoked.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from .errors import CertificateError, MalformedError
from .keys import MAX_SIZE, PEM_CERTIFICATE, SigningKey, from_library

MAX_CERTIFICATES: Final = 16
EK_PURPOSE: Final = x509.ObjectIdentifier("2.23.133.8.1")
AK_PURPOSE: Final = x509.ObjectIdentifier("2.23.133.8.3")
_MAX_DEPTH: Final = 6

_UNREADABLE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for certificates that are read only in parts, when it reads the next."""


def parse_certificates(octets: bytes) -> list[x509.Certificate]:
    """The certificates in a file, in PEM or one in DER. Raises MalformedError.

    Octets after a DER certificate don't matter: an NV index may be larger than what is in it.
    """
    if len(octets) > MAX_SIZE:
        raise MalformedError(f"certificates of more than {MAX_SIZE} octets")
    with _quiet():
        try:
            if octets.lstrip().startswith(PEM_CERTIFICATE):
                found = x509.load_pem_x509_certificates(octets)
            else:
                found = [x509.load_der_x509_certificate(_der(octets))]
        except _UNREADABLE:
            raise MalformedError("no certificate in PEM or DER") from None
    if len(found) > MAX_CERTIFICATES:
        raise MalformedError(f"more than {MAX_CERTIFICATES} certificates")
    return found


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate, in hexadecimal."""
    return sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def certified_key(
    chain: list[x509.Certificate],
    roots: list[x509.Certificate],
    purpose: x509.ObjectIdentifier,
    now: datetime | None = None,
) -> SigningKey:
    """The key of the first certificate, which the others lead to one of `roots`.

    Raises CertificateError if it doesn't, has expired, is a CA's or is not for `purpose`, and
    MalformedError for a key of an unknown kind.
    """
    leaf, *others = chain
    with _quiet():
        try:
            verifier = (
                PolicyBuilder()
                .store(Store(roots))
                .time(now or datetime.now(UTC))
                .max_chain_depth(_MAX_DEPTH)
                .extension_policies(ca_policy=_ISSUER, ee_policy=ExtensionPolicy.permit_all())
                .build_client_verifier()
            )
            verifier.verify(leaf, others)
        except (VerificationError, *_UNREADABLE) as error:
            raise CertificateError(f"the certificate is not believed: {error}") from None
        _check_purpose(leaf, purpose)
        return subject_key(leaf)


def subject_key(certificate: x509.Certificate) -> SigningKey:
    """The key in a certificate, believed or not. Raises MalformedError."""
    with _quiet():
        try:
            return from_library(certificate.public_key())
        except _UNREADABLE as error:
            raise MalformedError(f"a certificate whose key is not read: {error}") from None


def _check_purpose(certificate: x509.Certificate, purpose: x509.ObjectIdentifier) -> None:
    try:
        extensions = {each.oid: each.value for each in certificate.extensions}
    except _UNREADABLE as error:
        raise CertificateError(f"the certificate's extensions are not read: {error}") from None
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise CertificateError("the certificate is a CA's, not a key's of a TPM")
    usage = extensions.get(ExtensionOID.EXTENDED_KEY_USAGE)
    if not isinstance(usage, x509.ExtendedKeyUsage) or purpose not in usage:
        raise CertificateError(f"the certificate is not for {purpose.dotted_string}")
    keys = extensions.get(ExtensionOID.KEY_USAGE)
    if isinstance(keys, x509.KeyUsage):
        permitted = (
            keys.key_encipherment or keys.key_agreement
            if purpose == EK_PURPOSE
            else keys.digital_signature
        )
        if not permitted:
            raise CertificateError("the certificate's key usage is another")


def _may_issue(_: Policy, __: x509.Certificate, extension: x509.KeyUsage | None) -> None:
    if extension is not None and not extension.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")


_ISSUER: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_issue)
)
"""The issuers of TPMs' certificates are no web servers': some lack what web PKI demands.

That it is a CA's certificate, and how many may be below it, the library looks at by itself.
"""


def _der(octets: bytes) -> bytes:
    """The first element in DER, whose length has up to three octets."""
    if len(octets) < 5 or octets[1] < 0x80:
        return octets
    sizes = octets[1] & 0x7F
    if sizes > 3:
        return octets
    return octets[: 2 + sizes + int.from_bytes(octets[2 : 2 + sizes])]


@contextmanager
def _quiet() -> Iterator[None]:
    """The library warns of odd certificates; whether one is believed is decided here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
