"""A foreign authority made by hand with pyca, and EK certificates with one fault each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from vtpmd.pki.contents import Reported
from vtpmd.tpm.crypto.der import NULL, bit_string, element, elements, oid, sequence

REPORTED = Reported("5654504D", "vtpmd", "00010000", "2.0", 0, 185)
EK = x509.ObjectIdentifier("2.23.133.8.1")
STRANGE = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
DAY = timedelta(days=1)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def public(key: Any) -> bytes:
    octets: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return octets


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def usage(**flags: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{each: flags.get(each, False) for each in names})


def directory(**changed: str | None) -> x509.SubjectAlternativeName:
    """The name of a TPM of ours, with some values others or left out."""
    values: dict[str, str | None] = {"1": "id:5654504D", "2": "vtpmd", "3": "id:00010000"}
    values |= {key.removeprefix("arc"): value for key, value in changed.items()}
    attributes = [
        x509.NameAttribute(x509.ObjectIdentifier(f"2.23.133.2.{arc}"), value)
        for arc, value in values.items()
        if value is not None
    ]
    return x509.SubjectAlternativeName([x509.DirectoryName(x509.Name(attributes))])


_WEAK: dict[str, tuple[bytes, tuple[Any, ...]]] = {
    "sha1": (sequence(oid("1.2.840.10045.4.1")), (ec.ECDSA(hashes.SHA1()),)),
    "md5": (sequence(oid("1.2.840.113549.1.1.4"), element(NULL)), (PKCS1v15(), hashes.MD5())),
}
"""AlgorithmIdentifier of a signature, and how pyca makes one."""


@dataclass
class Authority:
    """A CA; `above` is None for a root."""

    subject: str
    above: "Authority | None" = None
    path_length: int | None = None
    ca: bool = True
    sign: bool = True
    weak: str | None = None
    begin: timedelta = -DAY
    end: timedelta = 365 * DAY
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    padding: int = 0
    more: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    """Further extensions, and whether they are critical."""

    def __post_init__(self) -> None:
        above = self.above or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(self.subject))
            .issuer_name(name(above.subject))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now() + self.begin)
            .not_valid_after(now() + self.end)
            .add_extension(
                x509.BasicConstraints(self.ca, self.path_length if self.ca else None), True
            )
            .add_extension(usage(key_cert_sign=self.sign, crl_sign=True), True)
        )
        if self.padding:
            blob = x509.UnrecognizedExtension(STRANGE, bytes(self.padding))
            builder = builder.add_extension(blob, critical=False)
        for extension, critical in self.more:
            builder = builder.add_extension(extension, critical)
        self.certificate = builder.sign(above.key, hashes.SHA256())
        if self.weak is not None:
            self.certificate = above.sign_weakly(self.certificate, self.weak)

    def sign_weakly(self, certificate: x509.Certificate, weak: str) -> x509.Certificate:
        """The same certificate with a signature that pyca makes no more."""
        algorithm, arguments = _WEAK[weak]
        (whole,) = elements(der(certificate))
        version, serial, _, *rest = elements(elements(whole.contents)[0].contents)
        made = sequence(version.whole, serial.whole, algorithm, *(each.whole for each in rest))
        return x509.load_der_x509_certificate(
            sequence(made, algorithm, bit_string(self.key.sign(made, *arguments)))
        )

    def certify(
        self,
        key: Any,
        *,
        ca: bool | None = False,
        key_usage: x509.KeyUsage | None = None,
        purposes: list[x509.ObjectIdentifier] | None = None,
        alternative: x509.SubjectAlternativeName | None = None,
        begin: timedelta = -DAY,
        end: timedelta = 365 * DAY,
        weak: str | None = None,
        padding: int = 0,
        strange: bool = False,
        without: type[x509.ExtensionType] | None = None,
        subject: str = "vm",
    ) -> x509.Certificate:
        """An EK certificate; nothing is wrong with it unless asked for."""
        is_rsa = isinstance(key, rsa.RSAPublicKey)
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (key_usage or usage(key_encipherment=is_rsa, key_agreement=not is_rsa), True),
            (x509.ExtendedKeyUsage(purposes or [EK]), False),
            (alternative or directory(), False),
        ]
        if ca is not None:
            extensions.append((x509.BasicConstraints(ca, None), True))
        if padding or strange:
            extensions.append((x509.UnrecognizedExtension(STRANGE, bytes(padding)), strange))
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(self.subject))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now() + begin)
            .not_valid_after(now() + end)
        )
        for extension, critical in extensions:
            if without is None or not isinstance(extension, without):
                builder = builder.add_extension(extension, critical)
        certificate = builder.sign(self.key, hashes.SHA256())
        return certificate if weak is None else self.sign_weakly(certificate, weak)


Fault = Callable[[Authority, Any], x509.Certificate]
FAULTS: dict[str, tuple[Fault, str]] = {
    "CA:TRUE": (lambda ca, key: ca.certify(key, ca=True), "CA:TRUE"),
    "no purpose of an EK": (
        lambda ca, key: ca.certify(key, purposes=[x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")]),
        "extended key usage",
    ),
    "no purpose at all": (
        lambda ca, key: ca.certify(key, without=x509.ExtendedKeyUsage),
        "2.5.29.37 is missing",
    ),
    "another usage": (
        lambda ca, key: ca.certify(key, key_usage=usage(digital_signature=True)),
        "key usage",
    ),
    "signs certificates": (
        lambda ca, key: ca.certify(
            key, key_usage=usage(key_encipherment=True, key_agreement=True, key_cert_sign=True)
        ),
        "key usage",
    ),
    "no usage": (lambda ca, key: ca.certify(key, without=x509.KeyUsage), "2.5.29.15 is missing"),
    "another manufacturer": (
        lambda ca, key: ca.certify(key, alternative=directory(arc1="id:49424D00")),
        "'id:49424D00' where this TPM reports 'id:5654504D'",
    ),
    "another model": (
        lambda ca, key: ca.certify(key, alternative=directory(arc2="swtpm")),
        "'swtpm' where this TPM reports 'vtpmd'",
    ),
    "another version": (
        lambda ca, key: ca.certify(key, alternative=directory(arc3="id:00020000")),
        "'id:00020000' where this TPM reports",
    ),
    "no version": (
        lambda ca, key: ca.certify(key, alternative=directory(arc3=None)),
        "'nothing' where this TPM reports",
    ),
    "no name": (
        lambda ca, key: ca.certify(key, without=x509.SubjectAlternativeName),
        "'nothing' where this TPM reports",
    ),
    "expired": (lambda ca, key: ca.certify(key, begin=-2 * DAY, end=-DAY), "has expired"),
    "not yet valid": (lambda ca, key: ca.certify(key, begin=DAY), "not valid before"),
    "SHA-1": (lambda ca, key: ca.certify(key, weak="sha1"), "signed with SHA1"),
    "MD5": (
        lambda ca, key: Authority(ca.subject, key=rsa.generate_private_key(65537, 2048)).certify(
            key, weak="md5"
        ),
        "signed with MD5",
    ),
    "too large": (lambda ca, key: ca.certify(key, padding=2048), "larger than 2048"),
    "a strange critical extension": (
        lambda ca, key: ca.certify(key, strange=True),
        "1.3.6.1.4.1.99999.1 is not understood",
    ),
}
"""What is wrong with a certificate, and what the refusal says."""
