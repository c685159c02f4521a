"""Whether certificates that somebody brings are ones for the EKs of a TPM (RFC 5280, clause 6)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtensionOID

from .certificates import Certificates, der, is_authority, is_self_signed, key_of, read
from .contents import (
    EK_CERTIFICATE,
    MAX_CERTIFICATE,
    EkKey,
    Reported,
    key_usage,
)
from .errors import RefusedError

MAX_CHAIN: Final = 8
"""How many certificates a chain has at most above an EK's."""
_WEAK: Final = (hashes.SHA1, hashes.MD5)
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
"""Extensions that may be critical."""


@dataclass(frozen=True)
class Tpm:
    """Whose certificates are wanted: its EKs by kind, and what it reports."""

    keys: Mapping[str, bytes]
    reported: Reported


@dataclass(frozen=True)
class _Found:
    """A certificate, and the file that it is from."""

    file: str
    certificate: x509.Certificate

    def refused(self, reason: str) -> RefusedError:
        return RefusedError(f"{self.file}: {reason}")


def accept(
    tpm: Tpm,
    files: Mapping[str, bytes],
    roots: Mapping[str, bytes],
    now: datetime | None = None,
) -> Certificates:
    """The certificates for EKs of a TPM in `files`, in any order, with their chains.

    `files` and `roots` are contents by name. Without roots it is enough that a chain ends in what
    it came with. Raises RefusedError, which names the file: then none is to be used.
    """
    moment = now or datetime.now(UTC)
    found = list(_found(files))
    anchors = [each.certificate for each in _found(roots)]
    authorities = [each for each in found if _is_authority_only(each, tpm)]
    leaves: dict[str, _Found] = {}
    for each in found:
        if each in authorities:
            continue
        kind = _kind(each, tpm)
        if kind in leaves:
            raise each.refused(
                f"a second certificate of the {kind} key, besides {leaves[kind].file}"
            )
        _check_leaf(each, tpm.reported, moment)
        leaves[kind] = each
    if not leaves:
        raise RefusedError(f"{', '.join(files)}: no certificate of an EK of this TPM is in it")
    chain: list[x509.Certificate] = []
    for kind in sorted(leaves):
        for above in _chain(leaves[kind], authorities, anchors, moment):
            if above not in chain:
                chain.append(above)
    if len([each for each in chain if not is_self_signed(each)]) > MAX_CHAIN:
        raise RefusedError(f"there are more than {MAX_CHAIN} certificates of authorities")
    return Certificates({kind: leaves[kind].certificate for kind in sorted(leaves)}, tuple(chain))


def accept_issuer(key: EkKey, file: str, octets: bytes) -> tuple[x509.Certificate, ...]:
    """The chain of an issuing CA with this key, from it up to a self-signed one.

    Raises RefusedError.
    """
    found = list(_found({file: octets}))
    own = [each for each in found if _same_key(each.certificate, key)]
    if len(own) != 1:
        raise RefusedError(f"{file}: it holds {len(own)} certificates of the requested key")
    moment = datetime.now(UTC)
    _check_authority(own[0], moment, below=0)
    chain = (own[0].certificate, *_chain(own[0], found, [], moment))
    if not is_self_signed(chain[-1]):
        raise RefusedError(f"{file}: the chain does not end in a root certificate")
    return chain


def _found(files: Mapping[str, bytes]) -> Iterator[_Found]:
    for file, octets in files.items():
        try:
            certificates = read(octets)
        except RefusedError as error:
            raise RefusedError(f"{file}: {error}") from None
        yield from (_Found(file, certificate) for certificate in certificates)


def _same_key(certificate: x509.Certificate, key: EkKey) -> bool:
    try:
        return certificate.public_key() == key
    except Exception:  # of a key that is not understood
        return False


def _is_authority_only(found: _Found, tpm: Tpm) -> bool:
    return is_authority(found.certificate) and key_of(found.certificate) not in tpm.keys.values()


def _kind(found: _Found, tpm: Tpm) -> str:
    key = key_of(found.certificate)
    kinds = [kind for kind, own in tpm.keys.items() if own == key]
    if not kinds:
        raise found.refused("its key is no EK of this TPM")
    return kinds[0]


def _check_leaf(found: _Found, reported: Reported, moment: datetime) -> None:
    certificate = found.certificate
    if is_authority(certificate):
        raise found.refused("it is one of an authority (CA:TRUE)")
    _check_common(found, moment)
    extensions = certificate.extensions
    strange = [each.oid for each in extensions if each.critical and each.oid not in _UNDERSTOOD]
    if strange:
        raise found.refused(f"the critical extension {strange[0].dotted_string} is not understood")
    _check_usage(found, extensions)
    names = _names(extensions)
    for oid, value in reported.name.items():
        if names.get(oid) != value:
            said = names.get(oid, "nothing")
            raise found.refused(
                f"its subject alternative name has {said!r} where this TPM reports {value!r}"
            )
    if len(der(certificate)) > MAX_CERTIFICATE:
        raise found.refused(f"it is larger than {MAX_CERTIFICATE} bytes")


def _check_usage(found: _Found, extensions: x509.Extensions) -> None:
    public = found.certificate.public_key()
    assert isinstance(public, EkKey)
    wanted = key_usage(public)
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as error:
        raise found.refused(f"the extension {error.oid.dotted_string} is missing") from None
    permitted = usage.key_encipherment if wanted.key_encipherment else usage.key_agreement
    if not permitted or usage.key_cert_sign or usage.crl_sign:
        name = "keyEncipherment" if wanted.key_encipherment else "keyAgreement"
        raise found.refused(f"its key usage is not that of such an EK ({name})")
    if EK_CERTIFICATE not in purposes:
        raise found.refused(
            f"its extended key usage is not that of an EK ({EK_CERTIFICATE.dotted_string})"
        )


def _names(extensions: x509.Extensions) -> dict[x509.ObjectIdentifier, str]:
    """The attributes of directory names in the subject alternative name, each at most once."""
    names: dict[x509.ObjectIdentifier, str] = {}
    try:
        alternative = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return names
    for directory in alternative.get_values_for_type(x509.DirectoryName):
        for attribute in directory:
            text = str(attribute.value)
            names[attribute.oid] = text if names.get(attribute.oid, text) == text else "two values"
    return names


def _check_common(found: _Found, moment: datetime) -> None:
    certificate = found.certificate
    if not is_self_signed(certificate):
        _check_signature_hash(found)
    if moment < certificate.not_valid_before_utc:
        raise found.refused(
            f"it is not valid before {certificate.not_valid_before_utc.isoformat()}"
        )
    if moment > certificate.not_valid_after_utc:
        raise found.refused(f"it has expired on {certificate.not_valid_after_utc.isoformat()}")


def _check_signature_hash(found: _Found) -> None:
    try:
        algorithm = found.certificate.signature_hash_algorithm
    except Exception:  # unknown ones, each with an error of its own
        raise found.refused("the algorithm of its signature is not known") from None
    if isinstance(algorithm, _WEAK):
        raise found.refused(f"it is signed with {algorithm.name.upper()}")


def _check_authority(found: _Found, moment: datetime, below: int) -> None:
    """Check a certificate that others are signed with, `below` authorities being under it."""
    _check_common(found, moment)
    extensions = found.certificate.extensions
    if not is_authority(found.certificate):
        raise found.refused("it is not one of an authority (CA:FALSE)")
    limit = extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    if limit is not None and below > limit:
        raise found.refused("there are more authorities below it than it permits")
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not usage.key_cert_sign:
        raise found.refused("its key usage does not permit to sign certificates")


def _chain(
    leaf: _Found,
    authorities: Sequence[_Found],
    anchors: Sequence[x509.Certificate],
    moment: datetime,
) -> list[x509.Certificate]:
    """What is above a certificate, up to one that is trusted. Raises RefusedError."""
    chain: list[x509.Certificate] = []
    current = leaf
    while True:
        trusted = [each for each in anchors if has_signed(each, current.certificate)]
        if trusted:
            if trusted[0] not in (leaf.certificate, *chain):
                chain.append(trusted[0])
            return chain
        if is_self_signed(current.certificate):
            break
        above = next(
            (
                each
                for each in authorities
                if each.certificate not in (leaf.certificate, *chain)
                and has_signed(each.certificate, current.certificate)
            ),
            None,
        )
        if above is None:
            break
        _check_authority(above, moment, below=len(chain) + is_authority(leaf.certificate))
        if not is_self_signed(above.certificate) and len(der(above.certificate)) > MAX_CERTIFICATE:
            raise above.refused(f"it is larger than {MAX_CERTIFICATE} bytes")
        chain.append(above.certificate)
        current = above
    if anchors:
        raise leaf.refused("it does not chain to any of the root certificates that are trusted")
    if not chain:
        raise leaf.refused("the certificate of its issuer did not come with it")
    return chain


def has_signed(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether a certificate names an authority as its issuer, and its key has signed it."""
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # also for keys and algorithms that are not known, each with its own error
        return False
    return True
