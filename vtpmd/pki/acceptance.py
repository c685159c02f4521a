"""Whether certificates that an administrator supplies are for a TPM's EKs (RFC 5280, clause 6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from .certificates import Certificates, is_authority, key_of
from .chains import Found, chain_of, check_common, check_length, check_size, found_in
from .contents import (
    EK_CERTIFICATE,
    EkKey,
    Reported,
    key_usage,
)
from .errors import RefusedError


@dataclass(frozen=True)
class Tpm:
    """Whose certificates are wanted: its EKs by kind, and what it reports."""

    keys: Mapping[str, bytes]
    reported: Reported


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
    found = list(found_in(files))
    anchors = list(found_in(roots))
    authorities = [each for each in found if _is_authority_only(each, tpm)]
    leaves: dict[str, Found] = {}
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
        for above in chain_of(leaves[kind], authorities, anchors, moment):
            if above not in chain:
                chain.append(above)
    check_length(chain, files)
    return Certificates({kind: leaves[kind].certificate for kind in sorted(leaves)}, tuple(chain))


def _is_authority_only(found: Found, tpm: Tpm) -> bool:
    return is_authority(found.certificate) and key_of(found.certificate) not in tpm.keys.values()


def _kind(found: Found, tpm: Tpm) -> str:
    key = key_of(found.certificate)
    kinds = [kind for kind, own in tpm.keys.items() if own == key]
    if not kinds:
        raise found.refused("its key is no EK of this TPM")
    return kinds[0]


def _check_leaf(found: Found, reported: Reported, moment: datetime) -> None:
    certificate = found.certificate
    if is_authority(certificate):
        raise found.refused("it is one of an authority (CA:TRUE)")
    check_common(found, moment)
    extensions = certificate.extensions
    _check_usage(found, extensions)
    names = _names(extensions)
    for oid, value in reported.name.items():
        if names.get(oid) != value:
            said = names.get(oid, "nothing")
            raise found.refused(
                f"its subject alternative name has {said!r} where this TPM reports {value!r}"
            )
    check_size(found)


def _check_usage(found: Found, extensions: x509.Extensions) -> None:
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
