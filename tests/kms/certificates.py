"""Certificates for both ends of a connection, good ones and bad ones."""

import ipaddress
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """PEM files of a certificate and its private key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority that keeps what it issues in `directory`."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        basic = x509.BasicConstraints(ca=True, path_length=0)
        usage = x509.KeyUsage(
            key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = self._builder(self._name, self._key.public_key(), timedelta())
        builder = builder.add_extension(basic, critical=True).add_extension(usage, critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        self.certificate = directory / f"{name}.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *hosts: str) -> Pair:
        """A certificate for a server with these names or addresses."""
        return self.issue(f"server-{hosts[0]}", ssl.Purpose.SERVER_AUTH, *hosts)

    def client(self, name: str, shift: timedelta = timedelta()) -> Pair:
        """A certificate for a client, valid from yesterday to tomorrow, or `shift` later."""
        return self.issue(name, ssl.Purpose.CLIENT_AUTH, shift=shift)

    def issue(
        self, name: str, purpose: ssl.Purpose, *hosts: str, shift: timedelta = timedelta()
    ) -> Pair:
        """Any certificate for servers or clients; `name` is also that of its files."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name(name), key.public_key(), shift)
        usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose.oid)])
        builder = builder.add_extension(usage, critical=False)
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        with open(os.open(pair.key, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
            file.write(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        return pair

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, shift: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .issuer_name(self._name)
            .subject_name(subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY + shift)
            .not_valid_after(now + DAY + shift)
        )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
