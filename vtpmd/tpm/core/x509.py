"""Certificates that the TPM completes and signs (Part 3, 18.8; RFC 5280, 4.1)."""

from dataclasses import dataclass
from typing import Final

from ..crypto import der
from ..crypto.hashes import HASHES, digest
from ..crypto.rsa_schemes import pss_salt_size
from ..rc import RC, TpmError
from ..state import LoadedObject
from ..wire.algorithms import TPMT_SIG_SCHEME
from ..wire.attributes import TPMA_OBJECT, TPMA_X509_KEY_USAGE
from ..wire.constants import ALG
from ..wire.objects import TPMT_PUBLIC
from . import keys
from .objects import has
from .signing import hash_of

_SERIAL_SIZE: Final = 20
_VERSION_3: Final = der.context(0, der.integer(2))
_EXTENSIONS: Final = 0xA3
_NULL: Final = der.element(der.NULL)
_RSA_KEY: Final = der.oid("1.2.840.113549.1.1.1")
_EC_KEY: Final = der.oid("1.2.840.10045.2.1")
_RSAPSS: Final = der.oid("1.2.840.113549.1.1.10")
_MGF1: Final = der.oid("1.2.840.113549.1.1.8")
KEY_USAGE: Final = der.oid("2.5.29.15")
_TPMA_OBJECT: Final = der.oid("2.23.133.10.1.1.1")
_SIGNATURES: Final[dict[tuple[int, int], bytes]] = {
    **{(ALG.RSASSA, alg): hash_.rsassa_oid for alg, hash_ in HASHES.items()},
    **{(ALG.ECDSA, alg): hash_.ecdsa_oid for alg, hash_ in HASHES.items()},
}
_USAGES: Final = (
    (
        TPMA_X509_KEY_USAGE.DIGITAL_SIGNATURE
        | TPMA_X509_KEY_USAGE.KEY_CERT_SIGN
        | TPMA_X509_KEY_USAGE.CRL_SIGN,
        TPMA_OBJECT.SIGN_ENCRYPT,
    ),
    (
        TPMA_X509_KEY_USAGE.KEY_AGREEMENT
        | TPMA_X509_KEY_USAGE.DATA_ENCIPHERMENT
        | TPMA_X509_KEY_USAGE.ENCIPHER_ONLY
        | TPMA_X509_KEY_USAGE.DECIPHER_ONLY,
        TPMA_OBJECT.DECRYPT,
    ),
    (TPMA_X509_KEY_USAGE.KEY_ENCIPHERMENT, TPMA_OBJECT.DECRYPT | TPMA_OBJECT.RESTRICTED),
    (TPMA_X509_KEY_USAGE.NON_REPUDIATION, TPMA_OBJECT.FIXED_TPM),
)
"""Key usages, and the attributes that a key needs for any of them (Part 2, 8.11)."""


@dataclass(frozen=True, slots=True)
class PartialCertificate:
    """The caller's part of a certificate; every field is a DER element."""

    signature_algorithm: bytes | None
    names_and_validity: bytes
    """Issuer, validity and subject."""
    extensions: bytes


def read_partial(octets: bytes, at: str) -> PartialCertificate:
    """Take a partialCertificate apart. RC.SIZE or RC.VALUE at `at`."""
    if not octets:
        raise TpmError(RC.VALUE, at=at)
    try:
        outer = der.elements(octets)
    except ValueError:
        raise TpmError(RC.SIZE, at=at) from None
    if len(outer) != 1 or outer[0].tag != der.SEQUENCE:
        raise TpmError(RC.SIZE, at=at)
    try:
        parts = der.elements(outer[0].contents)
    except ValueError:
        raise TpmError(RC.VALUE, at=at) from None
    sequences = [part.whole for part in parts if part.tag == der.SEQUENCE]
    extensions = [part.whole for part in parts if part.tag == _EXTENSIONS]
    if len(extensions) != 1 or len(sequences) not in (3, 4) or len(parts) != len(sequences) + 1:
        raise TpmError(RC.VALUE, at=at)
    algorithm = sequences.pop(0) if len(sequences) == 4 else None
    return PartialCertificate(algorithm, b"".join(sequences), extensions[0])


def check_extensions(certificate: PartialCertificate, public: TPMT_PUBLIC, at: str) -> None:
    """Check that the extensions match the attributes of the key.

    Raises RC.ATTRIBUTES at `object_handle` if they don't; RC.VALUE, or RC.RESERVED_BITS for
    unknown usages, at `at`.
    """
    try:
        ((_, wrapped, _),) = der.elements(certificate.extensions)
        ((tag, listed, _),) = der.elements(wrapped)
        extensions = der.elements(listed)
        if tag != der.SEQUENCE or any(item.tag != der.SEQUENCE for item in extensions):
            raise ValueError("not a list of extensions")
        attributes = _extension_bits(extensions, _TPMA_OBJECT)
        usage = _extension_bits(extensions, KEY_USAGE)
    except ValueError:
        raise TpmError(RC.VALUE, at=at) from None
    if usage is None:
        raise TpmError(RC.VALUE, at=at)
    if attributes is not None and attributes != public.object_attributes:
        raise TpmError(RC.ATTRIBUTES, at="object_handle")
    if usage & TPMA_X509_KEY_USAGE.RESERVED:
        raise TpmError(RC.RESERVED_BITS, at=at)
    if any(usage & usages and not has(public, needed) for usages, needed in _USAGES):
        raise TpmError(RC.ATTRIBUTES, at="object_handle")


def _extension_bits(extensions: list[der.Element], identifier: bytes) -> int | None:
    """The BIT STRING in the extension with this OID; None if there is none.

    ValueError if it is no BIT STRING, or if there are two: relying parties could use the other.
    """
    listed = (der.elements(extension.contents) for extension in extensions)
    found = [parts[-1] for parts in listed if parts and parts[0].whole == identifier]
    if not found:
        return None
    (octets,) = found
    ((tag, contents, _),) = der.elements(octets.contents)
    if octets.tag != der.OCTET_STRING or tag != der.BIT_STRING:
        raise ValueError("not a bit string")
    return der.bits(contents)


def public_key_info(public: TPMT_PUBLIC, at: str) -> bytes:
    """SubjectPublicKeyInfo.

    Raises, at `at`, RC.ASYMMETRIC for a key that is not asymmetric, and RC.KEY for one that is
    not on its curve, which is not checked earlier for keys without a nameAlg, or that is on
    Curve25519 or Curve448.
    """
    if public.type == ALG.RSA:
        key = keys.rsa_public(public)
        pair = der.sequence(der.integer(key.n), der.integer(key.e))
        return der.sequence(der.sequence(_RSA_KEY, _NULL), der.bit_string(pair))
    if public.type != ALG.ECC:
        raise TpmError(RC.ASYMMETRIC, at=at)
    if keys.is_in_octets(public):
        raise TpmError(RC.KEY, at=at)
    curve, point = keys.ecc_curve(public), keys.ecc_public(public)
    if not curve.contains(point):
        raise TpmError(RC.KEY, at=at)
    octets = b"\x04" + curve.octets(point.x) + curve.octets(point.y)
    algorithm = der.sequence(_EC_KEY, curve.oid)
    return der.sequence(algorithm, der.bit_string(octets))


def signature_algorithm(key: LoadedObject, scheme: TPMT_SIG_SCHEME, at: str) -> bytes:
    """AlgorithmIdentifier of a scheme. RC.SCHEME at `at` if it has none."""
    hash_alg = hash_of(key, scheme)
    if scheme.scheme == ALG.RSAPSS:
        return der.sequence(_RSAPSS, _pss_parameters(key, hash_alg))
    identifier = _SIGNATURES.get((scheme.scheme, hash_alg))
    if identifier is None:
        raise TpmError(RC.SCHEME, at=at)
    return der.sequence(identifier, _NULL if scheme.scheme == ALG.RSASSA else b"")


def _pss_parameters(key: LoadedObject, hash_alg: int) -> bytes:
    """RSASSA-PSS-params (RFC 4055, 3.1), with defaults left out."""
    salt_size = pss_salt_size(hash_alg, keys.rsa_public(key.public).size)
    if hash_alg == ALG.SHA1:
        return der.sequence()
    hash_id = der.sequence(HASHES[hash_alg].oid, _NULL)
    return der.sequence(
        der.context(0, hash_id),
        der.context(1, der.sequence(_MGF1, hash_id)),
        der.context(2, der.integer(salt_size)),
    )


def complete(
    certificate: PartialCertificate,
    algorithm: bytes,
    subject_key: bytes,
    subject: LoadedObject,
    signer: LoadedObject,
) -> tuple[bytes, bytes]:
    """(addedToCertificate, TBSCertificate); the serial number is a digest of the contents."""
    rest = (certificate.names_and_validity, subject_key, certificate.extensions)
    made = digest(signer.public.name_alg, algorithm, *rest, signer.name, subject.name)
    serial = der.integer(int.from_bytes(made[:_SERIAL_SIZE]))
    own_algorithm = b"" if certificate.signature_algorithm else algorithm
    added = der.sequence(_VERSION_3, serial, own_algorithm, subject_key)
    return added, der.sequence(_VERSION_3, serial, algorithm, *rest)
