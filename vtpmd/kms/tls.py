"""TLS to a key service: trusted authority, client certificate, reasons for failures."""

import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import read_file

from .errors import KmsError
from .secret_file import is_credential, read_secret

_MAX_FILE = 1 << 20
_ALERT = "_ALERT_"
_ABOUT_CERTIFICATES = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")


class CredentialsError(KmsError):
    """One of the files for TLS cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class Credentials:
    """PEM files: `ca` issued the server's certificate, `certificate` and `key` are the client's.

    Without the latter two, which are given together, the client has no certificate.
    """

    ca: Path
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files and return the context of a connection. Raises CredentialsError."""
        ca = _read(self.ca)
        # Only `ca` is trusted, none of the platform's authorities.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hostname_checks_common_name = False
        try:
            # Text between the certificates need not be ASCII.
            context.load_verify_locations(cadata=ca.decode("ascii", "ignore"))
        except (ssl.SSLError, ValueError):
            raise CredentialsError(f"{self.ca} holds no certificates in PEM") from None
        if self.certificate is not None and self.key is not None:
            _check_validity(self.certificate)
            _identify(context, self.certificate, self.key)
        return context

    def expiry(self) -> datetime | None:
        """When the client certificate expires, if there is one. Raises CredentialsError."""
        return _check_validity(self.certificate) if self.certificate is not None else None


def explain(error: BaseException) -> tuple[str, bool] | None:
    """Explain a failed connection: a predicate whose subject is the server, and whether to retry.

    Also looks at the exceptions that `error` was raised from. None if neither TLS nor the operating
    system gave a reason.
    """
    found = list(_causes(error))
    for cause in found:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return _explain_tls(cause), False
    for cause in found:
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ssl.SSLError):
            # trio prefixes the system's text with addresses; the resolver has texts of its own.
            number = cause.errno or 0
            words = os.strerror(number) if number > 0 else cause.strerror
            return f"cannot be reached: {words}", True
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            # trio tries the addresses of a host in turn; the first failure is reported.
            error = error.exceptions[0]
        else:
            # httpx2 raises from None, but the context is still there.
            error = error.__cause__ or error.__context__


def _explain_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that is refused: {error.verify_message}"
    reason = error.reason or ""
    if _ALERT in reason:
        refused = any(word in reason for word in _ABOUT_CERTIFICATES)
        whom = "the client certificate" if refused else "the TLS connection"
        return f"refuses {whom}: {_words(error)}"
    return f"cannot be spoken to with TLS: {_words(error)}"


def _identify(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        read_secret(key, _MAX_FILE, is_credential(key))
    except StorageError as error:
        raise CredentialsError(str(error)) from None
    try:
        # Without a password, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError) as error:
        raise CredentialsError(
            f"{key} cannot be used as the key of {certificate}: {_words(error)}"
        ) from None


def _check_validity(path: Path) -> datetime:
    try:
        certificate = x509.load_pem_x509_certificates(_read(path))[0]
    except ValueError:
        raise CredentialsError(f"{path} holds no certificate in PEM") from None
    now = datetime.now(UTC)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= end:
        raise CredentialsError(f"the client certificate {path} expired at {end}")
    if now < begin:
        raise CredentialsError(f"the client certificate {path} is not valid before {begin}")
    return end


def _read(path: Path) -> bytes:
    try:
        return read_file(path.resolve(), _MAX_FILE)
    except (StorageError, OSError) as error:
        raise CredentialsError(str(error)) from None


def _words(error: ssl.SSLError | OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.rpartition(_ALERT)[2].replace("_", " ").lower()
    return error.strerror or type(error).__name__
