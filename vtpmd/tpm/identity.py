"""What proves who a TPM is: requests for the certificates of its EKs, and the certificates in NV.

TCG EK Credential Profile: one certificate for each EK at an index of its own, and those of the
authorities above it, each whole, from 0x01C00100 on. The indices belong to the platform and are
write-locked permanently, so that neither owner nor TPM2_Clear changes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .core import nv, nv_space, signing, x509
from .crypto import der
from .crypto.hashes import digest
from .endorsement import KINDS, available, endorsement_key
from .facts import Facts, facts_of
from .rc import RC, EngineError, TpmError
from .state import LoadedObject, NvIndex, Tpm
from .wire.algorithms import TPMS_SIGNATURE_ECC, TPMS_SIGNATURE_RSA, TPMT_SIG_SCHEME
from .wire.attributes import TPMA_NV
from .wire.constants import ALG
from .wire.limits import MAX_NV_INDEX_SIZE
from .wire.nv import TPMS_NV_PUBLIC

CHAIN: Final = "chain"
"""Stands for the authorities' certificates where kinds of EKs are names."""
MAX_CHAIN: Final = 8
"""How many certificates of authorities are put into NV at most."""
_FIRST_OF_CHAIN: Final = 0x01C00100
_CHAIN_INDICES: Final = range(_FIRST_OF_CHAIN, _FIRST_OF_CHAIN + 0x100)
_ATTRIBUTES: Final = (
    TPMA_NV.PLATFORMCREATE
    | TPMA_NV.AUTHREAD
    | TPMA_NV.OWNERREAD
    | TPMA_NV.PPREAD
    | TPMA_NV.PPWRITE
    | TPMA_NV.NO_DA
    | TPMA_NV.WRITEDEFINE
    | TPMA_NV.WRITTEN
    | TPMA_NV.WRITELOCKED
)

_SET, _UTF8_STRING, _BOOLEAN, _DIRECTORY_NAME = 0x31, 0x0C, 0x01, 0xA4
_TRUE: Final = der.element(_BOOLEAN, b"\xff")
_COMMON_NAME: Final = der.oid("2.5.4.3")
_EXTENSION_REQUEST: Final = der.oid("1.2.840.113549.1.9.14")
_BASIC_CONSTRAINTS: Final = der.oid("2.5.29.19")
_EXTENDED_KEY_USAGE: Final = der.oid("2.5.29.37")
_SUBJECT_ALTERNATIVE_NAME: Final = der.oid("2.5.29.17")
_SUBJECT_DIRECTORY_ATTRIBUTES: Final = der.oid("2.5.29.9")
_EK_CERTIFICATE: Final = der.oid("2.23.133.8.1")
_MANUFACTURER, _MODEL, _VERSION = (der.oid(f"2.23.133.2.{arc}") for arc in (1, 2, 3))
_SPECIFICATION: Final = der.oid("2.23.133.2.16")
_USAGES: Final = {
    ALG.RSA: der.element(der.BIT_STRING, b"\x05\x20"),  # keyEncipherment
    ALG.ECC: der.element(der.BIT_STRING, b"\x03\x08"),  # keyAgreement
}


class IdentityError(EngineError):
    """These certificates can't be put into this TPM; nothing was changed."""


@dataclass(frozen=True, slots=True)
class EndorsementKey:
    """An EK as others see it: SubjectPublicKeyInfo (DER) and Name."""

    public_key: bytes
    name: bytes


def endorsement_keys(
    tpm: Tpm, kinds: Sequence[str], moduli: Mapping[str, int]
) -> dict[str, EndorsementKey]:
    """The EKs of these kinds, as far as the profile has them, by kind.

    `moduli`: what are thought to be those of RSA keys.
    """
    found = {}
    for kind in available(tpm.profile):
        if kind in kinds:
            key = endorsement_key(tpm, kind, moduli.get(kind))
            found[kind] = EndorsementKey(x509.public_key_info(key.public, at=""), key.name)
    return found


def certificate_request(tpm: Tpm, kind: str, subject: str) -> bytes:
    """A PKCS#10 request (RFC 2986, DER) for an EK, signed by it, with all wanted extensions.

    `subject` is the common name, empty for a certificate without one.
    """
    key, scheme = endorsement_key(tpm, kind), KINDS[kind].scheme
    name = der.element(_SET, der.sequence(_COMMON_NAME, _utf8(subject))) if subject else b""
    wanted = _extensions(key.public.type, facts_of(tpm.profile), critical_name=not subject)
    attributes = der.sequence(_EXTENSION_REQUEST, der.element(_SET, wanted))
    information = der.sequence(
        der.integer(0),
        der.sequence(name),
        x509.public_key_info(key.public, at=""),
        der.context(0, attributes),
    )
    algorithm = x509.signature_algorithm(key, scheme, at="")
    signature = _signature(tpm, key, scheme, information)
    return der.sequence(information, algorithm, der.bit_string(signature))


def _signature(tpm: Tpm, key: LoadedObject, scheme: TPMT_SIG_SCHEME, octets: bytes) -> bytes:
    """A signature in the form that X.509 has for it."""
    made = signing.sign(tpm, key, scheme, digest(signing.hash_of(key, scheme), octets)).signature
    if isinstance(made, TPMS_SIGNATURE_RSA):
        return made.sig
    assert isinstance(made, TPMS_SIGNATURE_ECC)
    return der.sequence(
        der.integer(int.from_bytes(made.signature_r)), der.integer(int.from_bytes(made.signature_s))
    )


def _extensions(key_type: int, facts: Facts, *, critical_name: bool) -> bytes:
    name = der.sequence(
        *(
            der.element(_SET, der.sequence(oid, _utf8(text)))
            for oid, text in (
                (_MANUFACTURER, f"id:{facts.manufacturer}"),
                (_MODEL, facts.model),
                (_VERSION, f"id:{facts.version}"),
            )
        )
    )
    specification = der.sequence(
        _utf8(facts.family), der.integer(facts.level), der.integer(facts.revision)
    )
    directory_attribute = der.sequence(_SPECIFICATION, der.element(_SET, specification))
    return der.sequence(
        _extension(_BASIC_CONSTRAINTS, der.sequence(), critical=True),
        _extension(x509.KEY_USAGE, _USAGES[ALG(key_type)], critical=True),
        _extension(_EXTENDED_KEY_USAGE, der.sequence(_EK_CERTIFICATE)),
        _extension(
            _SUBJECT_ALTERNATIVE_NAME,
            der.sequence(der.element(_DIRECTORY_NAME, name)),
            critical=critical_name,
        ),
        _extension(_SUBJECT_DIRECTORY_ATTRIBUTES, der.sequence(directory_attribute)),
    )


def _extension(identifier: bytes, value: bytes, *, critical: bool = False) -> bytes:
    return der.sequence(
        identifier, _TRUE if critical else b"", der.element(der.OCTET_STRING, value)
    )


def _utf8(text: str) -> bytes:
    return der.element(_UTF8_STRING, text.encode())


def install(tpm: Tpm, certificates: Mapping[str, bytes], chain: Sequence[bytes]) -> None:
    """Make these the certificates in NV: those of EKs by kind, and the authorities' above them.

    Those that were there before and are not among them go. It is no command, so neither the
    platform's authorization nor a TPM2_Shutdown that is in force matters. Raises IdentityError.
    """
    if unknown := certificates.keys() - KINDS.keys():
        raise IdentityError(f"there are no EKs of the kinds {', '.join(sorted(unknown))}")
    if len(chain) > MAX_CHAIN:
        raise IdentityError(f"there are more than {MAX_CHAIN} certificates of authorities")
    wanted = {KINDS[kind].index: octets for kind, octets in certificates.items()}
    wanted |= dict(zip(_CHAIN_INDICES, chain, strict=False))
    present = tpm.permanent.nv
    for handle, octets in wanted.items():
        if handle in present and not present[handle].has(TPMA_NV.PLATFORMCREATE):
            raise IdentityError(f"the owner of the TPM has defined index 0x{handle:08X}")
        if not 0 < len(octets) <= MAX_NV_INDEX_SIZE:
            raise IdentityError(
                f"a certificate has {len(octets)} octets, an index {MAX_NV_INDEX_SIZE} at most"
            )
    if {handle: index.data for handle, index in _installed(tpm).items()} == wanted:
        return
    new = {handle: _index(handle, octets) for handle, octets in wanted.items()}
    old = present.keys() & (wanted.keys() | _installed(tpm).keys())
    try:
        kept = {handle: index for handle, index in present.items() if handle not in old}
        nv_space.require_for_indices(tpm, kept | new)
        tpm.begin_nv_update()
    except TpmError as error:
        raise IdentityError(f"the TPM can't store them (TPM_RC_{RC(error.code).name})") from None
    for handle in old:
        nv.undefine(tpm, present[handle])
    present.update(new)


def installed(tpm: Tpm) -> dict[str, bytes]:
    """The SHA-256 of each certificate in NV, by kind, and of the chain's together, as CHAIN."""
    contents = {handle: index.data for handle, index in _installed(tpm).items()}
    found = {
        name: digest(ALG.SHA256, contents[kind.index])
        for name, kind in KINDS.items()
        if kind.index in contents
    }
    chain = [contents[handle] for handle in sorted(contents) if handle in _CHAIN_INDICES]
    return found | ({CHAIN: digest(ALG.SHA256, *chain)} if chain else {})


def _installed(tpm: Tpm) -> dict[int, NvIndex]:
    """The indices that `install` has made, or that are as if it had."""
    ours = {*_CHAIN_INDICES, *(kind.index for kind in KINDS.values())}
    return {
        handle: index
        for handle, index in tpm.permanent.nv.items()
        if handle in ours and index.public.attributes == _ATTRIBUTES
    }


def _index(handle: int, octets: bytes) -> NvIndex:
    public = TPMS_NV_PUBLIC(handle, ALG.SHA256, _ATTRIBUTES, b"", len(octets))
    return NvIndex(public, b"", octets)
