"""Schemes, signatures and their verification, for keys in objects (Part 1, 43 to 46; Part 3, 20).

A table says which schemes a key type allows; a given scheme is never trusted to fit.
"""

from hmac import compare_digest
from typing import Final

from ..crypto import ecc_signatures, eddsa, hashes, mldsa, rsa_schemes
from ..crypto.hashes import hmac
from ..crypto.resumable import ResumableHash, ResumableShake256
from ..rc import RC, TpmError
from ..state import LoadedObject, Tpm
from ..wire.algorithms import (
    TPMS_SCHEME_ECDAA,
    TPMS_SCHEME_HASH,
    TPMS_SIGNATURE_ECC,
    TPMS_SIGNATURE_HASH_MLDSA,
    TPMS_SIGNATURE_RSA,
    TPMT_SIG_SCHEME,
    TPMT_SIGNATURE,
)
from ..wire.attributes import TPMA_OBJECT
from ..wire.base import TPMT_HA
from ..wire.constants import ALG
from ..wire.objects import (
    TPMS_ECC_PARMS,
    TPMS_HASH_MLDSA_PARMS,
    TPMS_KEYEDHASH_PARMS,
    TPMS_MLDSA_PARMS,
    TPMS_RSA_PARMS,
    TPMT_PUBLIC,
)
from . import commitments
from .keys import (
    curve_id,
    ecc_curve,
    ecc_private,
    ecc_public,
    encoded,
    is_in_octets,
    mldsa_parms,
    mldsa_private,
    mldsa_public,
    private_octets,
    public_octets,
    rsa_private,
    rsa_public,
)
from .objects import has

NULL_SIGNATURE: Final = TPMT_SIGNATURE(ALG.NULL, None)
"""The signature that an attestation command returns without a key."""

_NO_SCHEME: Final = TPMT_SIG_SCHEME(ALG.NULL, None)
SCHEMES: Final[dict[int, frozenset[int]]] = {
    ALG.RSA: frozenset({ALG.RSASSA, ALG.RSAPSS}),
    ALG.ECC: frozenset({ALG.ECDSA, ALG.ECDAA, ALG.ECSCHNORR}),
    ALG.KEYEDHASH: frozenset({ALG.HMAC}),
    ALG.MLDSA: frozenset({ALG.MLDSA}),
    ALG.HASH_MLDSA: frozenset({ALG.HASH_MLDSA}),
}
"""The schemes that each type of key can sign with."""
_EDDSA: Final = frozenset({ALG.EDDSA, ALG.HASH_EDDSA})
"""The same of ECC keys on Curve25519 and Curve448."""
_NEWER: Final = frozenset({ALG.MLDSA, ALG.HASH_MLDSA}) | _EDDSA
"""Schemes that TPM2_Sign and TPM2_VerifySignature are not for (Part 3, table 115)."""
_WITHOUT_HASH: Final = frozenset({ALG.MLDSA}) | _EDDSA
"""Schemes that name no hash."""


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
    own = own_scheme(key.public)
    if own.scheme == ALG.NULL:
        chosen = in_scheme
    elif in_scheme.scheme == ALG.NULL:
        chosen = _NO_SCHEME if is_anonymous(own.scheme) else own
    elif own.scheme == in_scheme.scheme and _details_hash(own) == _details_hash(in_scheme):
        chosen = in_scheme
    else:
        chosen = _NO_SCHEME
    if chosen.scheme not in schemes(key.public):
        raise TpmError(RC.SCHEME, at="in_scheme")
    return chosen


def schemes(public: TPMT_PUBLIC) -> frozenset[int]:
    """The schemes that a key can sign with."""
    if public.type == ALG.ECC and is_in_octets(public):
        return _EDDSA
    return SCHEMES.get(public.type, frozenset())


def names_no_hash(scheme: int) -> bool:
    """Whether signatures by a scheme do not say which hash they were made with."""
    return scheme in _WITHOUT_HASH


def require_deprecated(key: LoadedObject, at: str) -> None:
    """Raise RC.SCHEME at `at` for a key that the deprecated commands can't sign or verify with."""
    if own_scheme(key.public).scheme in _NEWER:
        raise TpmError(RC.SCHEME, at=at)


def own_scheme(public: TPMT_PUBLIC) -> TPMT_SIG_SCHEME:
    """The scheme of a key as a signing scheme; `select_scheme` checks that it is one."""
    parameters = public.parameters
    if isinstance(parameters, TPMS_MLDSA_PARMS | TPMS_HASH_MLDSA_PARMS):
        return TPMT_SIG_SCHEME(public.type, None)
    if not isinstance(parameters, TPMS_RSA_PARMS | TPMS_ECC_PARMS | TPMS_KEYEDHASH_PARMS):
        return _NO_SCHEME
    scheme, details = parameters.scheme.scheme, parameters.scheme.details
    if isinstance(details, TPMS_SCHEME_HASH | TPMS_SCHEME_ECDAA):
        return TPMT_SIG_SCHEME(scheme, details)
    return TPMT_SIG_SCHEME(scheme, None)


def hash_of(key: LoadedObject | None, scheme: TPMT_SIG_SCHEME) -> int:
    """The hash that `key` signs digests of by a scheme; TPM_ALG_NULL if there is none."""
    if key is not None and isinstance(key.public.parameters, TPMS_HASH_MLDSA_PARMS):
        return key.public.parameters.hash_alg
    return _details_hash(scheme)


def digest_hash(key: LoadedObject, scheme: TPMT_SIG_SCHEME) -> int:
    """The same, with the hash that HashEdDSA does not name but has, if the TPM has that."""
    if scheme.scheme == ALG.HASH_EDDSA:
        return eddsa.digest_alg(curve_id(key.public))
    return hash_of(key, scheme)


def _details_hash(scheme: TPMT_SIG_SCHEME) -> int:
    details = scheme.details
    return ALG.NULL if details is None else details.hash_alg


def representative(key: LoadedObject, hash_alg: int, message: bytes) -> bytes:
    """What of a message `key` signs: a digest, mu of ML-DSA, or all of it for EdDSA."""
    match own_scheme(key.public).scheme:
        case ALG.EDDSA:
            return message
        case ALG.MLDSA:
            running: ResumableHash | ResumableShake256 = mldsa.running_mu(encoded(key.public), b"")
        case ALG.HASH_EDDSA:
            running = eddsa.running_digest(curve_id(key.public))
        case _:
            return hashes.digest(hash_alg, message)
    running.update(message)
    return running.digest()


def require_room(tpm: Tpm, key: LoadedObject, beside: int = 0, at: str | None = None) -> None:
    """Raise RC.SIZE at `at` if a signature does not fit into the response to the command in flight.

    `beside`: octets of the other parameters. Only those of ML-DSA can be too long (errata 1, 2.8).
    """
    if key.public.type not in (ALG.MLDSA, ALG.HASH_MLDSA):
        return
    head = 2 if key.public.type == ALG.MLDSA else 4
    signature_size = mldsa.PARAMETER_SETS[mldsa_parms(key.public)].signature_size
    if beside + head + 2 + signature_size > tpm.response_room:
        raise TpmError(RC.SIZE, at=at)


def sign(
    tpm: Tpm, key: LoadedObject, scheme: TPMT_SIG_SCHEME, digest: bytes, context: bytes = b""
) -> TPMT_SIGNATURE:
    """Sign a digest of the scheme's hash, as `select_scheme` chose it; as `representative` is.

    `context` is that of HashML-DSA; mu includes it already. With an anonymous scheme, the
    commitment is used up. Raises RC.BINDING for an RSA key that does not work, RC.VALUE for a
    commitment that is not outstanding, RC.NO_RESULT for ML-DSA, and as `require_room`.
    """
    require_room(tpm, key)
    alg, hash_alg = scheme.scheme, hash_of(key, scheme)
    match alg:
        case ALG.MLDSA:
            return TPMT_SIGNATURE(alg, mldsa.sign(mldsa_private(key), digest))
        case ALG.EDDSA | ALG.HASH_EDDSA:
            sign_it = eddsa.sign if alg == ALG.EDDSA else eddsa.sign_digest
            octets = sign_it(curve_id(key.public), private_octets(key), digest)
            return TPMT_SIGNATURE(alg, octets)
        case ALG.HASH_MLDSA:
            mu = mldsa.mu_of_digest(encoded(key.public), context, hash_alg, digest)
            octets = mldsa.sign(mldsa_private(key), mu)
            return TPMT_SIGNATURE(alg, TPMS_SIGNATURE_HASH_MLDSA(hash_alg, octets))
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
    curve, d, hash_alg = ecc_curve(key.public), ecc_private(key), _details_hash(scheme)
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


def verify_message(key: LoadedObject, signature: TPMT_SIGNATURE, message: bytes, at: str) -> None:
    """Verify a signature of a message, whose hash it says. Raises as `verify`."""
    _require_kind(key, signature, at)
    if signature.sig_alg == ALG.EDDSA:
        running = eddsa_challenge(key, nonce_of(key, signature))
        running.update(message)
        verify(key, signature, running.digest(), at)
    else:
        verify(key, signature, representative(key, hash_in(signature), message), at)


def eddsa_challenge(key: LoadedObject, nonce: bytes) -> ResumableHash | ResumableShake256:
    """What becomes the challenge of a message when that is added to it; `nonce` is R."""
    return eddsa.running_challenge(curve_id(key.public), nonce, public_octets(key.public))


def hint_size(key: LoadedObject, scheme: TPMT_SIG_SCHEME) -> int:
    """Octets of the hint with which the verification of a message begins (Part 2, 11.3.9)."""
    return eddsa.size(curve_id(key.public)) if scheme.scheme == ALG.EDDSA else 0


def nonce_of(key: LoadedObject, signature: TPMT_SIGNATURE) -> bytes:
    """R of a signature by EdDSA or HashEdDSA."""
    assert isinstance(signature.signature, bytes)
    return eddsa.nonce(curve_id(key.public), signature.signature)


def hash_in(signature: TPMT_SIGNATURE) -> int:
    """The hash that a signature says; TPM_ALG_NULL if it says none."""
    match signature.signature:
        case TPMS_SIGNATURE_RSA() | TPMS_SIGNATURE_ECC() | TPMS_SIGNATURE_HASH_MLDSA() as signed:
            return signed.hash
        case TPMT_HA() as mac:
            return mac.hash_alg
        case _:
            return ALG.NULL


def verify(
    key: LoadedObject,
    signature: TPMT_SIGNATURE,
    digest: bytes,
    at: str | None = None,
    context: bytes = b"",
) -> None:
    """Verify that `signature` is one of `digest` by `key`; errors are positioned `at`.

    `digest` and `context` are as for `sign`, but for EdDSA `digest` is the challenge of a message.
    Only the public area of an asymmetric key is used.
    Raises RC.SIGNATURE if it is not genuine, RC.SCHEME if the key can't verify its kind,
    RC.HANDLE if an HMAC key's sensitive area is not loaded.
    """
    _require_kind(key, signature, at)
    public, kind, signed = key.public, signature.sig_alg, signature.signature
    if isinstance(signed, TPMS_SIGNATURE_HASH_MLDSA):
        if signed.hash != hash_of(key, own_scheme(public)):
            raise TpmError(RC.SCHEME, at=at)
        digest = mldsa.mu_of_digest(encoded(public), context, signed.hash, digest)
    elif kind == ALG.HASH_EDDSA:
        nonce, octets = nonce_of(key, signature), public_octets(public)
        digest = eddsa.challenge_of_digest(curve_id(public), nonce, octets, digest)
    if not _is_genuine(key, kind, signed, digest):
        raise TpmError(RC.SIGNATURE, at=at)


def _require_kind(key: LoadedObject, signature: TPMT_SIGNATURE, at: str | None) -> None:
    """Raise as `verify` for a signature that the key could not have made, whatever it signs."""
    public, kind = key.public, signature.sig_alg
    if public.type == ALG.KEYEDHASH and key.sensitive is None:
        raise TpmError(RC.HANDLE, at=at)
    possible = schemes(public)
    if kind in _EDDSA:  # one key must not be used with both (Part 1, 44.3.2.1)
        possible &= {own_scheme(public).scheme}
    if kind not in possible or is_anonymous(kind):
        raise TpmError(RC.SCHEME, at=at)


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
        case bytes() if kind in _EDDSA:
            public = public_octets(key.public)
            return eddsa.verify(curve_id(key.public), public, signature, digest)
        case TPMS_SIGNATURE_HASH_MLDSA(signature=octets) | (bytes() as octets):
            return mldsa.verify(mldsa_public(key), digest, octets)
        case _:
            return False


def _is_genuine_mac(key: LoadedObject, signature: TPMT_HA, digest: bytes) -> bool:
    own = own_scheme(key.public)
    # A key with a scheme must not confirm MACs made with a weaker hash.
    if own.scheme != ALG.NULL and _details_hash(own) != signature.hash_alg:
        return False
    assert key.sensitive is not None
    expected = hmac(signature.hash_alg, key.sensitive.sensitive, digest)
    return compare_digest(expected, signature.digest)
