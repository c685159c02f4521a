"""Schemes, signatures and their verification, for keys in objects (Part 1, 43 and 44; Part 3, 20).

A table says which schemes a key type allows; a given scheme is never trusted to fit.
"""

from hmac import compare_digest
from typing import Final

from ..crypto import ecc_signatures, rsa_schemes
from ..crypto.hashes import hmac
from ..rc import RC, TpmError
from ..state import LoadedObject, Tpm
from ..wire.algorithms import (
    TPMS_SCHEME_ECDAA,
    TPMS_SCHEME_HASH,
    TPMS_SIGNATURE_ECC,
    TPMS_SIGNATURE_RSA,
    TPMT_SIG_SCHEME,
    TPMT_SIGNATURE,
)
from ..wire.attributes import TPMA_OBJECT
from ..wire.base import TPMT_HA
from ..wire.constants import ALG
from ..wire.objects import TPMS_ECC_PARMS, TPMS_KEYEDHASH_PARMS, TPMS_RSA_PARMS, TPMT_PUBLIC
from . import commitments
from .keys import ecc_curve, ecc_private, ecc_public, rsa_private, rsa_public
from .objects import has

NULL_SIGNATURE: Final = TPMT_SIGNATURE(ALG.NULL, None)
"""The signature that an attestation command returns without a key."""

_NO_SCHEME: Final = TPMT_SIG_SCHEME(ALG.NULL, None)
_SCHEMES: Final[dict[int, frozenset[int]]] = {
    ALG.RSA: frozenset({ALG.RSASSA, ALG.RSAPSS}),
    ALG.ECC: frozenset({ALG.ECDSA, ALG.ECDAA, ALG.ECSCHNORR}),
    ALG.KEYEDHASH: frozenset({ALG.HMAC}),
}
"""The schemes that each type of key can sign with."""


def is_anonymous(scheme: int) -> bool:
    """Whether signatures hide the signer, and need a TPM2_Commit first."""
    return scheme == ALG.ECDAA


def require_signing_key(key: LoadedObject | None, at: str) -> None:
    """Raise RC.KEY unless a key, if there is one, can sign."""
    if key is None:
        return
    if not has(key.public, TPMA_OBJECT.SIGN_ENCRYPT) or key.public.type == ALG.SYMCIPHER:
        raise TpmError(RC.KEY, at=at)


def select_scheme(key: LoadedObject | None, in_scheme: TPMT_SIG_SCHEME) -> TPMT_SIG_SCHEME:
    """The scheme to sign with; TPM_ALG_NULL if there is no key.

    The caller can leave out the key's own scheme, but not replace it. A scheme with a commitment
    has to be given, because the commitment's counter is part of it. Raises RC.SCHEME
    at `in_scheme`.
    """
    if key is None:
        return _NO_SCHEME
    own = _scheme_of(key.public)
    if own.scheme == ALG.NULL:
        chosen = in_scheme
    elif in_scheme.scheme == ALG.NULL:
        chosen = _NO_SCHEME if is_anonymous(own.scheme) else own
    elif own.scheme == in_scheme.scheme and hash_of(own) == hash_of(in_scheme):
        chosen = in_scheme
    else:
        chosen = _NO_SCHEME
    if chosen.scheme not in _SCHEMES.get(key.public.type, ()):
        raise TpmError(RC.SCHEME, at="in_scheme")
    return chosen


def _scheme_of(public: TPMT_PUBLIC) -> TPMT_SIG_SCHEME:
    """The scheme of a key as a signing scheme; `select_scheme` checks that it is one."""
    parameters = public.parameters
    if not isinstance(parameters, TPMS_RSA_PARMS | TPMS_ECC_PARMS | TPMS_KEYEDHASH_PARMS):
        return _NO_SCHEME
    scheme, details = parameters.scheme.scheme, parameters.scheme.details
    if isinstance(details, TPMS_SCHEME_HASH | TPMS_SCHEME_ECDAA):
        return TPMT_SIG_SCHEME(scheme, details)
    return TPMT_SIG_SCHEME(scheme, None)


def hash_of(scheme: TPMT_SIG_SCHEME) -> int:
    """The hash of a scheme; TPM_ALG_NULL if it has none."""
    details = scheme.details
    return ALG.NULL if details is None else details.hash_alg


def sign(tpm: Tpm, key: LoadedObject, scheme: TPMT_SIG_SCHEME, digest: bytes) -> TPMT_SIGNATURE:
    """Sign a digest of the scheme's hash, as `select_scheme` chose it.

    With an anonymous scheme, the commitment is used up. Raises RC.BINDING for an RSA key that
    does not work and RC.VALUE for a commitment that is not outstanding.
    """
    alg, hash_alg = scheme.scheme, hash_of(scheme)
    match alg:
        case ALG.RSASSA | ALG.RSAPSS:
            rsa_sign = rsa_schemes.sign_rsassa if alg == ALG.RSASSA else rsa_schemes.sign_rsapss
            octets = rsa_sign(rsa_private(key), hash_alg, digest)
            return TPMT_SIGNATURE(alg, TPMS_SIGNATURE_RSA(hash_alg, octets))
        case ALG.HMAC:
            assert key.sensitive is not None
            mac = hmac(hash_alg, key.sensitive.sensitive, digest)
            return TPMT_SIGNATURE(alg, TPMT_HA(hash_alg, mac))
        case _:
            return TPMT_SIGNATURE(alg, _sign_ecc(tpm, key, scheme, digest))


def _sign_ecc(
    tpm: Tpm, key: LoadedObject, scheme: TPMT_SIG_SCHEME, digest: bytes
) -> TPMS_SIGNATURE_ECC:
    curve, d, hash_alg = ecc_curve(key.public), ecc_private(key), hash_of(scheme)
    details = scheme.details
    if isinstance(details, TPMS_SCHEME_ECDAA):
        value = commitments.committed(tpm, curve, key.name, details.count)
        nonce, s = ecc_signatures.sign_ecdaa(curve, d, value, hash_alg, digest, tpm.random)
        commitments.end(tpm, details.count)
        return TPMS_SIGNATURE_ECC(hash_alg, nonce, curve.octets(s))
    if scheme.scheme == ALG.ECDSA:
        r, s = ecc_signatures.sign_ecdsa(curve, d, digest)
    else:
        r, s = ecc_signatures.sign_ecschnorr(curve, d, hash_alg, digest, tpm.random)
    return TPMS_SIGNATURE_ECC(hash_alg, curve.octets(r), curve.octets(s))


def verify(
    key: LoadedObject, signature: TPMT_SIGNATURE, digest: bytes, at: str | None = None
) -> None:
    """Verify that `signature` is one of `digest` by `key`; errors are positioned `at`.

    Only the public area of an asymmetric key is used. Raises RC.SIGNATURE if it is not genuine,
    RC.SCHEME if the key can't verify its kind, RC.HANDLE if an HMAC key's sensitive area is not
    loaded.
    """
    public = key.public
    if public.type == ALG.KEYEDHASH and key.sensitive is None:
        raise TpmError(RC.HANDLE, at=at)
    kind = signature.sig_alg
    if kind not in _SCHEMES.get(public.type, ()) or is_anonymous(kind):
        raise TpmError(RC.SCHEME, at=at)
    if not _is_genuine(key, kind, signature.signature, digest):
        raise TpmError(RC.SIGNATURE, at=at)


def _is_genuine(key: LoadedObject, kind: int, signature: object, digest: bytes) -> bool:
    match signature:
        case TPMS_SIGNATURE_RSA():
            rsa_verify = (
                rsa_schemes.verify_rsassa if kind == ALG.RSASSA else rsa_schemes.verify_rsapss
            )
            return rsa_verify(rsa_public(key.public), signature.hash, digest, signature.sig)
        case TPMS_SIGNATURE_ECC():
            curve, point = ecc_curve(key.public), ecc_public(key.public)
            r, s = int.from_bytes(signature.signature_r), int.from_bytes(signature.signature_s)
            if not curve.contains(point):
                return False
            if kind == ALG.ECDSA:
                return ecc_signatures.verify_ecdsa(curve, point, digest, r, s)
            return ecc_signatures.verify_ecschnorr(curve, point, signature.hash, digest, r, s)
        case TPMT_HA():
            return _is_genuine_mac(key, signature, digest)
        case _:
            return False


def _is_genuine_mac(key: LoadedObject, signature: TPMT_HA, digest: bytes) -> bool:
    own = _scheme_of(key.public)
    # A key with a scheme must not confirm MACs made with a weaker hash.
    if own.scheme != ALG.NULL and hash_of(own) != signature.hash_alg:
        return False
    assert key.sensitive is not None
    expected = hmac(signature.hash_alg, key.sensitive.sensitive, digest)
    return compare_digest(expected, signature.digest)
