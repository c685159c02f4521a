"""Chains of certificates: from one up to an authority that is trusted (RFC 5280, clause 6)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtensionOID

from .certificates import der, is_authority, is_self_signed, read
from .contents import MAX_CERTIFICATE, EkKey
from .errors import RefusedError

MAX_CHAIN: Final = 8
"""How many certificates NV has room for above those of the EKs."""
MAX_NAMESAKES: Final = 16
"""How many certificates of one name are tried with a signature; each costs up to a millisecond."""
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.NAME_CONSTRAINTS,
        # No policy is asked for, so what constrains them is not looked at.
        ExtensionOID.POLICY_MAPPINGS,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.INHIBIT_ANY_POLICY,
    }
)
"""Extensions that may be critical."""
_WEAK: Final = (hashes.SHA1, hashes.MD5)


@dataclass(frozen=True)
class Found:
    """A certificate, and the file that it is from."""

    file: str
    certificate: x509.Certificate

    def refused(self, reason: str) -> RefusedError:
        """The error that it is refused for a reason."""
        return RefusedError(f"{self.file}: {reason}")


def found_in(files: Mapping[str, bytes]) -> Iterator[Found]:
    """The certificates in files, whose contents come by name. Raises RefusedError."""
    for file, octets in files.items():
        try:
            certificates = read(octets)
        except RefusedError as error:
            raise RefusedError(f"{file}: {error}") from None
        yield from (Found(file, certificate) for certificate in certificates)


def check_length(chain: Iterable[x509.Certificate], files: Iterable[str]) -> None:
    """Raise RefusedError for a chain of which NV can't hold all that is not self-signed.

    `files` are those that it came from.
    """
    if len([each for each in chain if not is_self_signed(each)]) > MAX_CHAIN:
        told = f"there are more than {MAX_CHAIN} certificates of authorities"
        raise RefusedError(f"{', '.join(files)}: {told}")


def chain_of(
    leaf: Found,
    authorities: Sequence[Found],
    anchors: Sequence[Found],
    moment: datetime,
) -> list[x509.Certificate]:
    """What is above a certificate, up to one that is trusted. Raises RefusedError."""
    chain: list[x509.Certificate] = []
    current = leaf
    while True:
        below = len(chain) + is_authority(leaf.certificate)
        if (anchor := _above(current, anchors, moment, below)) is not None:
            return [*chain, anchor.certificate]
        if is_self_signed(current.certificate):
            break
        others = [each for each in authorities if each.certificate not in chain]
        if (above := _above(current, others, moment, below)) is None:
            break
        chain.append(above.certificate)
        check_length(chain, [leaf.file])
        current = above
    if anchors:
        raise leaf.refused("it does not chain to any of the root certificates that are trusted")
    if not chain:
        raise leaf.refused("the certificate of its issuer did not come with it")
    return chain


def _above(found: Found, candidates: Iterable[Found], moment: datetime, below: int) -> Found | None:
    """The authority that has signed a certificate and may, None if none of these has signed it.

    An authority may have several certificates with one key. Raises RefusedError if it has, and
    there is something wrong with each.
    """
    refused: RefusedError | None = None
    for each in _issuers(found, candidates):
        try:
            _check_authority(each, moment, below)
            if not is_self_signed(each.certificate):
                check_size(each)
        except RefusedError as error:
            refused = refused or error
        else:
            return each
    if refused is not None:
        raise refused
    return None


def _issuers(found: Found, candidates: Iterable[Found]) -> list[Found]:
    """Those whose key has signed a certificate. Raises RefusedError."""
    name = found.certificate.issuer
    named = [each for each in candidates if each.certificate.subject == name]
    if len(named) > MAX_NAMESAKES:
        raise named[MAX_NAMESAKES].refused(
            f"there are more than {MAX_NAMESAKES} certificates of authorities with its name"
        )
    return [each for each in named if has_signed(each.certificate, found.certificate)]


def check_size(found: Found) -> None:
    """Raise RefusedError for a certificate that no NV index holds."""
    if len(der(found.certificate)) > MAX_CERTIFICATE:
        raise found.refused(f"it is larger than {MAX_CERTIFICATE} bytes")


def _check_authority(found: Found, moment: datetime, below: int) -> None:
    """Check a certificate that others are signed with, `below` authorities being under it."""
    check_common(found, moment)
    _check_constraints(found)
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


def _check_constraints(found: Found) -> None:
    """Check that it may issue for the names of TPMs, which are directory names."""
    try:
        extensions = found.certificate.extensions
        constraints = extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return
    trees = [*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())]
    if any(isinstance(each, x509.DirectoryName) for each in trees):
        raise found.refused("it is constrained to directory names that are not those of TPMs")


def check_common(found: Found, moment: datetime) -> None:
    """Check what holds for every certificate. Raises RefusedError."""
    certificate = found.certificate
    if not is_self_signed(certificate):
        _check_signature_hash(found)
    for each in certificate.extensions:
        if each.critical and each.oid not in _UNDERSTOOD:
            raise found.refused(
                f"the critical extension {each.oid.dotted_string} is not understood"
            )
    if moment < certificate.not_valid_before_utc:
        raise found.refused(
            f"it is not valid before {certificate.not_valid_before_utc.isoformat()}"
        )
    if moment > certificate.not_valid_after_utc:
        raise found.refused(f"it has expired on {certificate.not_valid_after_utc.isoformat()}")


def _check_signature_hash(found: Found) -> None:
    try:
        algorithm = found.certificate.signature_hash_algorithm
    except Exception:  # unknown ones, each with an error of its own
        raise found.refused("the algorithm of its signature is not known") from None
    if isinstance(algorithm, _WEAK):
        raise found.refused(f"it is signed with {algorithm.name.upper()}")


def accept_issuer(key: EkKey, file: str, octets: bytes) -> tuple[x509.Certificate, ...]:
    """The chain of an issuing CA with this key, from it up to a self-signed one.

    Raises RefusedError.
    """
    found = list(found_in({file: octets}))
    own = [each for each in found if _same_key(each.certificate, key)]
    if len(own) != 1:
        raise RefusedError(f"{file}: it holds {len(own)} certificates of the requested key")
    moment = datetime.now(UTC)
    _check_authority(own[0], moment, below=0)
    check_size(own[0])
    chain = (own[0].certificate, *chain_of(own[0], found, [], moment))
    check_length(chain, [file])
    if not is_self_signed(chain[-1]):
        raise RefusedError(f"{file}: the chain does not end in a root certificate")
    return chain


def _same_key(certificate: x509.Certificate, key: EkKey) -> bool:
    try:
        return certificate.public_key() == key
    except Exception:  # of a key that is not understood
        return False


def has_signed(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether a certificate names an authority as its issuer, and its key has signed it."""
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # also for keys and algorithms that are not known, each with its own error
        return False
    return True
