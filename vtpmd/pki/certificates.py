"""The certificates of one TPM: those of its EKs, and those of the authorities above them."""

import base64
import hashlib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from .contents import EkKey, kind_of, public_octets
from .errors import DamagedError, RefusedError

CHAIN = "chain"
"""Stands for the authorities' certificates where kinds of EKs are names."""
_BEGINNING = b"-----BEGIN"


def read(octets: bytes) -> list[x509.Certificate]:
    """The certificates in a file, PEM or DER. Raises RefusedError, whose text lacks the file."""
    try:
        if _BEGINNING in octets:
            found = x509.load_pem_x509_certificates(octets)
        else:
            found = [x509.load_der_x509_certificate(octets)]
        for certificate in found:
            _parse_whole(certificate)
    except Exception:  # whatever hostile octets lead the parser to
        raise RefusedError("it is no certificate, in PEM or DER") from None
    return found


def _parse_whole(certificate: x509.Certificate) -> None:
    """Read what would otherwise be read, or raise, when it is first asked for."""
    for name in (certificate.subject, certificate.issuer):
        name.public_bytes()
    for moment in (certificate.not_valid_before_utc, certificate.not_valid_after_utc):
        moment.isoformat()
    list(certificate.extensions)


def pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """Certificates one after the other."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def key_pem(octets: bytes) -> str:
    """A SubjectPublicKeyInfo (DER) in PEM."""
    return _armoured("PUBLIC KEY", octets)


def moduli(keys: Mapping[str, bytes]) -> dict[str, bytes]:
    """The moduli of those keys (SubjectPublicKeyInfo, DER) that are RSA's, by what names them."""
    found = {name: load_der_public_key(octets) for name, octets in keys.items()}
    return {
        name: key.public_numbers().n.to_bytes(key.key_size // 8)
        for name, key in found.items()
        if isinstance(key, rsa.RSAPublicKey)
    }


def request_pem(octets: bytes, key: bytes) -> str:
    """A PKCS#10 request (DER) in PEM, after a look at whose it is.

    Raises DamagedError unless it is signed by `key`, a SubjectPublicKeyInfo, and for that key.
    """
    try:
        request = x509.load_der_x509_csr(octets)
        public, genuine = request.public_key(), request.is_signature_valid
    except Exception:  # whatever hostile octets lead the parser to
        raise DamagedError("what the worker calls a request is none") from None
    if not (genuine and isinstance(public, EkKey) and public_octets(public) == key):
        raise DamagedError("what the worker calls a request is of another key")
    return _armoured("CERTIFICATE REQUEST", octets)


def _armoured(label: str, octets: bytes) -> str:
    lines = textwrap.wrap(base64.b64encode(octets).decode(), 64)
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def der(certificate: x509.Certificate) -> bytes:
    """The octets that go into NV."""
    return certificate.public_bytes(Encoding.DER)


def key_of(certificate: x509.Certificate) -> bytes | None:
    """SubjectPublicKeyInfo (DER); None for a key that no EK can be."""
    key = _public_key(certificate)
    return public_octets(key) if isinstance(key, EkKey) else None


def _public_key(certificate: x509.Certificate) -> object:
    try:
        return certificate.public_key()
    except Exception:  # unknown algorithms and curves, each with an error of its own
        return None


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it says that it is one of an authority (CA:TRUE)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether it names itself as its issuer."""
    return certificate.subject == certificate.issuer


@dataclass(frozen=True)
class Certificates:
    """EK certificates by kind, and the chain from their issuers up."""

    leaves: Mapping[str, x509.Certificate] = field(default_factory=dict)
    chain: Sequence[x509.Certificate] = ()

    @classmethod
    def from_pem(cls, octets: bytes) -> "Certificates":
        """What `pem` has made. Raises RefusedError."""
        leaves: dict[str, x509.Certificate] = {}
        chain = []
        for certificate in read(octets):
            kind = None if is_authority(certificate) else kind_of(_public_key(certificate))
            if kind is None:
                chain.append(certificate)
            elif kind in leaves:
                raise RefusedError(f"it holds two certificates of a {kind} key")
            else:
                leaves[kind] = certificate
        return cls(leaves, tuple(chain))

    @property
    def pem(self) -> bytes:
        """The content of a file."""
        return pem([*self.leaves.values(), *self.chain])

    @property
    def for_nv(self) -> tuple[dict[str, bytes], tuple[bytes, ...]]:
        """What goes into NV: leaves by kind, and the chain without what is self-signed."""
        above = tuple(der(each) for each in self.chain if not is_self_signed(each))
        return {kind: der(each) for kind, each in self.leaves.items()}, above

    def replaced_by(self, new: "Certificates") -> "Certificates":
        """These with those in `new` in the place of the ones for the same keys."""
        kept = {kind: leaf for kind, leaf in self.leaves.items() if kind not in new.leaves}
        above = [each for each in self.chain if kept and each not in new.chain]
        return Certificates({**new.leaves, **kept}, (*new.chain, *above))

    @property
    def leaf_digests(self) -> dict[str, bytes]:
        """The SHA-256 of each leaf by kind."""
        return {kind: hashlib.sha256(der(each)).digest() for kind, each in self.leaves.items()}

    @property
    def digests(self) -> dict[str, bytes]:
        """The SHA-256 of each leaf by kind, and of what of the chain is in NV together."""
        _, above = self.for_nv
        return self.leaf_digests | (
            {CHAIN: hashlib.sha256(b"".join(above)).digest()} if above else {}
        )
