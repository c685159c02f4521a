"""What an EK certificate says (TCG EK Credential Profile 2.x; RFC 5280)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.name import _ASN1Type

EkKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

EK_CERTIFICATE: Final = x509.ObjectIdentifier("2.23.133.8.1")
SUBJECT_DIRECTORY_ATTRIBUTES: Final = x509.ObjectIdentifier("2.5.29.9")
MANUFACTURER, MODEL, VERSION = (x509.ObjectIdentifier(f"2.23.133.2.{arc}") for arc in (1, 2, 3))
_TPM_SPECIFICATION: Final = bytes.fromhex("06056781050210")  # OID 2.23.133.2.16
_SEQUENCE, _SET, _INTEGER, _UTF8_STRING = 0x30, 0x31, 0x02, 0x0C
MAX_CERTIFICATE: Final = 2048
"""The most octets of a certificate that an NV index holds (TPM_PT_NV_INDEX_MAX)."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What a TPM reports about itself; manufacturer and version are eight hexadecimal digits."""

    manufacturer: str
    model: str
    version: str
    family: str
    level: int
    revision: int

    def demand_encodable(self) -> None:
        """Raise ValueError for what no certificate can say."""
        try:
            _directory_name(self)
            self.specification  # noqa: B018
        except OverflowError:
            raise ValueError("a negative level or revision") from None

    @property
    def name(self) -> dict[x509.ObjectIdentifier, str]:
        """The attributes of the directory name in the subject alternative name."""
        return {
            MANUFACTURER: f"id:{self.manufacturer}",
            MODEL: self.model,
            VERSION: f"id:{self.version}",
        }

    @property
    def specification(self) -> bytes:
        """The subject directory attributes: which specification the TPM implements (DER)."""
        values = (
            _element(_UTF8_STRING, self.family.encode()),
            _element(_INTEGER, _unsigned(self.level)),
            _element(_INTEGER, _unsigned(self.revision)),
        )
        specification = _element(_SEQUENCE, *values)
        attribute = _element(_SEQUENCE, _TPM_SPECIFICATION, _element(_SET, specification))
        return _element(_SEQUENCE, attribute)


def kind_of(key: object) -> str | None:
    """The kind of EK that a public key can be; None if there is no such kind."""
    match key:
        case rsa.RSAPublicKey():
            return "rsa-2048" if key.key_size == 2048 else None
        case ec.EllipticCurvePublicKey():
            return {"secp256r1": "ecc-p256", "secp384r1": "ecc-p384"}.get(key.curve.name)
    return None


def public_octets(key: EkKey) -> bytes:
    """SubjectPublicKeyInfo (DER) of a key."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_usage(key: EkKey) -> x509.KeyUsage:
    """What an EK is for: it decrypts, and never signs."""
    is_rsa = isinstance(key, rsa.RSAPublicKey)
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=is_rsa,
        data_encipherment=False,
        key_agreement=not is_rsa,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def extensions(
    key: EkKey, reported: Reported, *, has_subject: bool
) -> Iterator[tuple[x509.ExtensionType, bool]]:
    """The extensions that a request asks for and a certificate has, and which are critical."""
    yield x509.BasicConstraints(ca=False, path_length=None), True
    yield key_usage(key), True
    yield x509.ExtendedKeyUsage([EK_CERTIFICATE]), False
    yield x509.SubjectAlternativeName([_directory_name(reported)]), not has_subject
    yield (
        x509.UnrecognizedExtension(SUBJECT_DIRECTORY_ATTRIBUTES, reported.specification),
        False,
    )


def _directory_name(reported: Reported) -> x509.DirectoryName:
    return x509.DirectoryName(
        x509.Name(
            [
                x509.NameAttribute(oid, value, _ASN1Type.UTF8String)
                for oid, value in reported.name.items()
            ]
        )
    )


def _element(tag: int, *contents: bytes) -> bytes:
    body = b"".join(contents)
    if len(body) >= 0x80:
        raise ValueError("a longer text than any TPM reports")
    return bytes((tag, len(body))) + body


def _unsigned(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1)
