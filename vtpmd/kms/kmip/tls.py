"""Mutual TLS to a key management server: our credentials, and what goes wrong with TLS."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from vtpmd.kms.secret_file import is_credential, read_secret
from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import read_file

_MAX_FILE = 1 << 20
_ALERT = "_ALERT_"
_ABOUT_CERTIFICATES = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")


class CredentialsError(Exception):
    """One of the files for TLS cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class Credentials:
    """PEM files: ``ca`` issued the server's certificate, ``certificate`` and ``key`` are ours."""

    ca: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Settings for a connection, with the files as they are now. Raises CredentialsError."""
        try:
            ca = read_file(self.ca.resolve(), _MAX_FILE)
            self._check_validity(read_file(self.certificate.resolve(), _MAX_FILE))
            read_secret(self.key, _MAX_FILE, is_credential(self.key))
        except (StorageError, OSError) as error:
            raise CredentialsError(str(error)) from None
        # No platform's list of authorities: only ``ca`` speaks for the server.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hostname_checks_common_name = False
        try:
            context.load_verify_locations(cadata=ca.decode("ascii"))
        except (ssl.SSLError, UnicodeDecodeError, ValueError):
            raise CredentialsError(f"{self.ca} holds no certificates in PEM") from None
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self.certificate, self.key, password="")
        except (ssl.SSLError, OSError) as error:
            raise CredentialsError(
                f"{self.key} cannot be used as the key of {self.certificate}: {_words(error)}"
            ) from None
        return context

    def expiry(self) -> datetime:
        """Until when our certificate is valid. Raises CredentialsError."""
        try:
            return self._check_validity(read_file(self.certificate.resolve(), _MAX_FILE))
        except (StorageError, OSError) as error:
            raise CredentialsError(str(error)) from None

    def _check_validity(self, pem: bytes) -> datetime:
        try:
            certificate = x509.load_pem_x509_certificates(pem)[0]
        except ValueError:
            raise CredentialsError(f"{self.certificate} holds no certificate in PEM") from None
        now = datetime.now(UTC)
        if now >= certificate.not_valid_after_utc:
            since = certificate.not_valid_after_utc
            raise CredentialsError(f"the client certificate {self.certificate} expired at {since}")
        if now < certificate.not_valid_before_utc:
            begin = certificate.not_valid_before_utc
            raise CredentialsError(
                f"the client certificate {self.certificate} is not valid before {begin}"
            )
        return certificate.not_valid_after_utc


def explain(error: ssl.SSLError) -> str:
    """What a failed connection tells, as the end of a sentence that begins with the server."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that is refused: {error.verify_message}"
    reason = error.reason or ""
    if _ALERT in reason:
        refused = any(word in reason for word in _ABOUT_CERTIFICATES)
        whom = "the client certificate" if refused else "the TLS connection"
        return f"refuses {whom}: {_words(error)}"
    return f"cannot be spoken to with TLS: {_words(error)}"


def _words(error: ssl.SSLError | OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.rpartition(_ALERT)[2].replace("_", " ").lower()
    return error.strerror or type(error).__name__
