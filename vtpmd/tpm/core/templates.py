"""Whether the attributes and schemes of a public area agree (Part 2, 8.3; Part 3, 12.1).

The order of checks is that of the reference implementation, so that a template with several faults
gets the same response code. Errors carry the position `at`.
"""

from typing import Final

from ..crypto import dhkem
from ..crypto.hashes import digest_size
from ..rc import RC, TpmError
from ..state import LoadedObject
from ..wire.algorithms import TPMS_SCHEME_HASH, TPMS_SCHEME_XOR, TPMS_SYMCIPHER_PARMS
from ..wire.attributes import TPMA_OBJECT
from ..wire.constants import ALG
from ..wire.objects import (
    TPMS_ECC_PARMS,
    TPMS_KEYEDHASH_PARMS,
    TPMS_MLKEM_PARMS,
    TPMS_RSA_PARMS,
    TPMT_PUBLIC,
)
from .keys import is_in_octets, symmetric
from .objects import FIXED, LIMITED, STORAGE, has, is_derivation_parent

# Looking up a member of an Enum takes 0.1 µs in Python 3.11: what loads objects needs these.
_NO_ALGORITHM, _RSA, _ECC, _KEYEDHASH = map(int, (ALG.NULL, ALG.RSA, ALG.ECC, ALG.KEYEDHASH))


def _algorithms(*algorithms: ALG) -> frozenset[int]:
    return frozenset(map(int, algorithms))


_NONE: Final = frozenset({_NO_ALGORITHM})
_NOTHING: Final = frozenset[int]()
_SIGNING: Final[dict[int, frozenset[int]]] = {
    _RSA: _algorithms(ALG.RSASSA, ALG.RSAPSS),
    _ECC: _algorithms(ALG.ECDSA, ALG.ECDAA, ALG.ECSCHNORR, ALG.SM2),
}
_EDDSA: Final = _algorithms(ALG.EDDSA, ALG.HASH_EDDSA)
_EXCHANGE_IN_OCTETS: Final = _algorithms(ALG.ECDH)
_FOR_ONE_USE: Final[dict[int, int]] = {
    ALG.MLDSA: TPMA_OBJECT.SIGN_ENCRYPT,
    ALG.HASH_MLDSA: TPMA_OBJECT.SIGN_ENCRYPT,
    ALG.MLKEM: TPMA_OBJECT.DECRYPT,
}
"""Types of keys that have only one of the two uses (Part 2, 12.2.3.9)."""
_CERTIFYING: Final = frozenset({*_SIGNING, *_algorithms(ALG.MLDSA, ALG.HASH_MLDSA)})
_DECRYPTION: Final[dict[int, frozenset[int]]] = {
    _RSA: _algorithms(ALG.RSAES, ALG.OAEP),
    _ECC: _algorithms(ALG.ECDH, ALG.ECMQV, ALG.SM2),
}


def check_creation(parent: LoadedObject | None, public: TPMT_PUBLIC, data: bytes, at: str) -> None:
    """Check a template for a new object; `parent` is None for a Primary Object.

    `data` is TPMS_SENSITIVE_CREATE.data. Raises RC.ATTRIBUTES, and as `check_attributes`.
    """
    tpm_is_source = has(public, TPMA_OBJECT.SENSITIVE_DATA_ORIGIN)
    if not tpm_is_source and not data:
        raise TpmError(RC.ATTRIBUTES, at=at)
    if parent is not None and tpm_is_source and data:
        raise TpmError(RC.ATTRIBUTES, at=at)
    if tpm_is_source:
        if public.type == ALG.KEYEDHASH and not _signs(public) and not _decrypts(public):
            raise TpmError(RC.ATTRIBUTES, at=at)
    else:
        is_symmetric = public.type in (ALG.KEYEDHASH, ALG.SYMCIPHER)
        restricted = has(public, TPMA_OBJECT.RESTRICTED)
        if not is_symmetric or (restricted and public.object_attributes & FIXED):
            raise TpmError(RC.ATTRIBUTES, at=at)
    check_attributes(parent, public, at)


def check_attributes(parent: LoadedObject | None, public: TPMT_PUBLIC, at: str) -> None:
    """Check a public area with a Name for use below `parent`.

    `parent` is None for a Primary Object, and for an object that has no parent yet. Raises
    RC.HASH, RC.SIZE, RC.ATTRIBUTES, and as `check_schemes`.
    """
    if public.name_alg == _NO_ALGORITHM:
        raise TpmError(RC.HASH, at=at)
    if public.auth_policy and len(public.auth_policy) != digest_size(public.name_alg):
        raise TpmError(RC.SIZE, at=at)
    if not _attributes_agree(public) or not _attributes_suit(parent, public):
        raise TpmError(RC.ATTRIBUTES, at=at)
    check_schemes(parent, public, at)


def _attributes_agree(public: TPMT_PUBLIC) -> bool:
    attributes, signs = public.object_attributes, _signs(public)
    if signs == _decrypts(public):
        if attributes & TPMA_OBJECT.RESTRICTED:
            return False
        if public.type != _KEYEDHASH and not signs:
            return False
    if attributes & TPMA_OBJECT.FIXED_TPM and attributes & TPMA_OBJECT.ENCRYPTED_DUPLICATION:
        return False
    uses = attributes & (TPMA_OBJECT.SIGN_ENCRYPT | TPMA_OBJECT.DECRYPT)
    if uses != _FOR_ONE_USE.get(public.type, uses):
        return False
    if attributes & TPMA_OBJECT.X509_SIGN and not (signs and public.type in _CERTIFYING):
        return False
    # Firmware- and SVN-limited hierarchies are not implemented, so no object is in one.
    return not attributes & LIMITED


def _attributes_suit(parent: LoadedObject | None, public: TPMT_PUBLIC) -> bool:
    fixed_tpm = has(public, TPMA_OBJECT.FIXED_TPM)
    fixed_parent = has(public, TPMA_OBJECT.FIXED_PARENT)
    if parent is None:
        return fixed_tpm == fixed_parent
    if has(parent.public, TPMA_OBJECT.FIXED_TPM):
        if fixed_tpm != fixed_parent:
            return False
    elif fixed_tpm or (public.object_attributes ^ parent.public.object_attributes) & (
        TPMA_OBJECT.ENCRYPTED_DUPLICATION
    ):
        return False
    if is_derivation_parent(parent):
        return fixed_parent and fixed_tpm == has(parent.public, TPMA_OBJECT.FIXED_TPM)
    return True


def check_schemes(parent: LoadedObject | None, public: TPMT_PUBLIC, at: str) -> None:
    """Check schemes, symmetric algorithms and KDFs against attributes and `parent`.

    Raises RC.SCHEME, RC.SYMMETRIC, RC.KDF, and RC.HASH for a storage key with another nameAlg
    than the parent it is fixed to.
    """
    parameters = public.parameters
    storage = has(public, STORAGE)
    match parameters:
        case TPMS_KEYEDHASH_PARMS():
            if not _keyedhash_scheme_allowed(public, parameters):
                raise TpmError(RC.SCHEME, at=at)
        case TPMS_RSA_PARMS() | TPMS_ECC_PARMS():
            if parameters.scheme.scheme not in _asymmetric_schemes(public):
                raise TpmError(RC.SCHEME, at=at)
            if not storage and parameters.symmetric.algorithm != _NO_ALGORITHM:
                raise TpmError(RC.SYMMETRIC, at=at)
            if isinstance(parameters, TPMS_ECC_PARMS) and not _kdf_allowed(public, parameters):
                raise TpmError(RC.KDF, at=at)
        case TPMS_MLKEM_PARMS():
            if not storage and parameters.symmetric.algorithm != _NO_ALGORITHM:
                raise TpmError(RC.SYMMETRIC, at=at)
        case TPMS_SYMCIPHER_PARMS():
            # A key that only signs is for a MAC; the modes of a cipher are for the others.
            if _decrypts(public) and parameters.sym.mode == ALG.CMAC:
                raise TpmError(RC.SCHEME, at=at)
    cipher = symmetric(public) if storage else None
    if cipher is not None:
        if cipher.algorithm == _NO_ALGORITHM:
            raise TpmError(RC.SYMMETRIC, at=at)
        if parent is not None and has(public, TPMA_OBJECT.FIXED_PARENT):
            if public.name_alg != parent.public.name_alg:
                raise TpmError(RC.HASH, at=at)
            if cipher != symmetric(parent.public):
                raise TpmError(RC.SYMMETRIC, at=at)


def _asymmetric_schemes(public: TPMT_PUBLIC) -> frozenset[int]:
    signs, restricted = _signs(public), has(public, TPMA_OBJECT.RESTRICTED)
    if public.type == _ECC and is_in_octets(public):
        return _schemes_in_octets(signs, _decrypts(public), restricted)
    if signs == _decrypts(public):
        return _NONE
    if signs:
        signing = _SIGNING[public.type]
        return signing if restricted else signing | _NONE
    return _NONE if restricted else _DECRYPTION[public.type] | _NONE


def _schemes_in_octets(signs: bool, decrypts: bool, restricted: bool) -> frozenset[int]:
    """Those of a key on Curve25519 or Curve448: all but a storage key needs one."""
    if signs == decrypts:
        return _NOTHING
    if signs:
        return _EDDSA
    return _NONE if restricted else _EXCHANGE_IN_OCTETS


def _kdf_allowed(public: TPMT_PUBLIC, parameters: TPMS_ECC_PARMS) -> bool:
    """Whether an ECC key may have its KDF: only one for key encapsulation may have any."""
    if parameters.kdf.scheme == _NO_ALGORITHM:
        return True
    exchanges = parameters.scheme.scheme == ALG.ECDH and not has(public, TPMA_OBJECT.RESTRICTED)
    return exchanges and is_kem(parameters)


def is_kem(parameters: TPMS_ECC_PARMS) -> bool:
    """Whether curve and KDF are those of a DHKEM (Part 2, 12.2.3.5)."""
    kdf = parameters.kdf
    if kdf.scheme != ALG.HKDF or not isinstance(kdf.details, TPMS_SCHEME_HASH):
        return False
    return dhkem.is_supported(parameters.curve_id, kdf.details.hash_alg)


def _keyedhash_scheme_allowed(public: TPMT_PUBLIC, parameters: TPMS_KEYEDHASH_PARMS) -> bool:
    scheme, details = parameters.scheme.scheme, parameters.scheme.details
    if _signs(public) == _decrypts(public):
        return scheme == ALG.NULL
    if _signs(public):
        return scheme == ALG.HMAC
    if not isinstance(details, TPMS_SCHEME_XOR):
        return False
    # A derivation parent has to say which KDF it is for.
    return not has(public, TPMA_OBJECT.RESTRICTED) or details.kdf == ALG.KDF1_SP800_108


def _signs(public: TPMT_PUBLIC) -> bool:
    return has(public, TPMA_OBJECT.SIGN_ENCRYPT)


def _decrypts(public: TPMT_PUBLIC) -> bool:
    return has(public, TPMA_OBJECT.DECRYPT)
