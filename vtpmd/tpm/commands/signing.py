"""Part 3, chapter 20: Signing and Signature Verification."""

from typing import Annotated

from ..command import Auth, command
from ..core import signature_sequences, signing, tickets
from ..core.objects import has
from ..crypto.hashes import digest_size
from ..crypto.mldsa import MU_SIZE
from ..profile import MESSAGE_SIGNING_VERSION
from ..rc import RC, TpmError
from ..state import LoadedObject, Tpm
from ..wire.algorithms import (
    TPM2B_SIGNATURE_CTX,
    TPMT_SIG_SCHEME,
    TPMT_SIG_SCHEME_NULL,
    TPMT_SIGNATURE,
)
from ..wire.attributes import TPMA_OBJECT
from ..wire.base import TPM2B_DIGEST, TPM2B_MAX_BUFFER, TPMT_TK_HASHCHECK, TPMT_TK_VERIFIED
from ..wire.constants import ALG, CC
from ..wire.interface import TPMI_DH_OBJECT
from ..wire.objects import TPMS_MLDSA_PARMS
from ..wire.structure import Structure

SequenceHandle = Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER]


class VerifySignatureResponse(Structure):
    validation: TPMT_TK_VERIFIED


@command(CC.VERIFY_SIGNATURE)
def verify_signature(
    tpm: Tpm,
    key_handle: Annotated[LoadedObject, TPMI_DH_OBJECT],
    /,
    digest: TPM2B_DIGEST,
    signature: TPMT_SIGNATURE,
) -> VerifySignatureResponse:
    """Verify a signature over a digest and return a ticket for it (20.2)."""
    if not has(key_handle.public, TPMA_OBJECT.SIGN_ENCRYPT):
        raise TpmError(RC.ATTRIBUTES, at="key_handle")
    signing.require_deprecated(key_handle, at="signature")
    signing.verify(key_handle, signature, digest, at="signature")
    hierarchy = tickets.vouching(key_handle)
    return VerifySignatureResponse(tickets.verified(tpm, hierarchy, digest, key_handle.name))


class SignResponse(Structure):
    signature: TPMT_SIGNATURE


@command(CC.SIGN)
def sign(
    tpm: Tpm,
    key_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER],
    /,
    digest: TPM2B_DIGEST,
    in_scheme: TPMT_SIG_SCHEME_NULL,
    validation: TPMT_TK_HASHCHECK,
) -> SignResponse:
    """Sign a digest (20.5); a restricted key signs only digests with a ticket of this TPM."""
    signing.require_signing_key(key_handle, at="key_handle")
    if has(key_handle.public, TPMA_OBJECT.X509_SIGN):
        raise TpmError(RC.ATTRIBUTES, at="key_handle")
    signing.require_deprecated(key_handle, at="in_scheme")
    scheme = signing.select_scheme(key_handle, in_scheme)
    hash_alg = signing.hash_of(key_handle, scheme)
    if validation.digest or has(key_handle.public, TPMA_OBJECT.RESTRICTED):
        tickets.check_hash_check(tpm, validation, hash_alg, digest, at="validation")
    elif len(digest) != digest_size(hash_alg):
        raise TpmError(RC.SIZE, at="digest")
    return SignResponse(signing.sign(tpm, key_handle, scheme, digest))


class VerifySequenceCompleteResponse(Structure):
    validation: TPMT_TK_VERIFIED


@command(CC.VERIFY_SEQUENCE_COMPLETE, version=MESSAGE_SIGNING_VERSION, flushed=True)
def verify_sequence_complete(
    tpm: Tpm,
    sequence_handle: SequenceHandle,
    key_handle: Annotated[LoadedObject, TPMI_DH_OBJECT],
    /,
    signature: TPMT_SIGNATURE,
) -> VerifySequenceCompleteResponse:
    """Verify a signature over the message of a sequence, and return a ticket for it (20.3)."""
    return VerifySequenceCompleteResponse(
        signature_sequences.verify(tpm, sequence_handle, key_handle, signature)
    )


class VerifyDigestSignatureResponse(Structure):
    validation: TPMT_TK_VERIFIED


@command(CC.VERIFY_DIGEST_SIGNATURE, version=MESSAGE_SIGNING_VERSION)
def verify_digest_signature(
    tpm: Tpm,
    key_handle: Annotated[LoadedObject, TPMI_DH_OBJECT],
    /,
    context: TPM2B_SIGNATURE_CTX,
    digest: TPM2B_DIGEST,
    signature: TPMT_SIGNATURE,
) -> VerifyDigestSignatureResponse:
    """Verify a signature over a digest, or over mu of ML-DSA, and return a ticket (20.4)."""
    scheme = _digest_scheme(key_handle, context)
    signature_sequences.require_own_scheme(key_handle, signature)
    hash_alg = signing.digest_hash(key_handle, scheme)
    _check_digest_size(hash_alg, digest)
    signing.verify(key_handle, signature, digest, "signature", context)
    hierarchy = tickets.vouching(key_handle)
    return VerifyDigestSignatureResponse(
        tickets.digest_verified(tpm, hierarchy, hash_alg, digest, key_handle.name)
    )


class SignSequenceCompleteResponse(Structure):
    signature: TPMT_SIGNATURE


@command(CC.SIGN_SEQUENCE_COMPLETE, version=MESSAGE_SIGNING_VERSION, flushed=True)
def sign_sequence_complete(
    tpm: Tpm,
    sequence_handle: SequenceHandle,
    key_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER],
    /,
    buffer: TPM2B_MAX_BUFFER,
) -> SignSequenceCompleteResponse:
    """Add the last data to a sequence and sign its message (20.6)."""
    return SignSequenceCompleteResponse(
        signature_sequences.sign(tpm, sequence_handle, key_handle, buffer)
    )


class SignDigestResponse(Structure):
    signature: TPMT_SIGNATURE


@command(CC.SIGN_DIGEST, version=MESSAGE_SIGNING_VERSION)
def sign_digest(
    tpm: Tpm,
    key_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER],
    /,
    context: TPM2B_SIGNATURE_CTX,
    digest: TPM2B_DIGEST,
    validation: TPMT_TK_HASHCHECK,
) -> SignDigestResponse:
    """Sign a digest, or mu of ML-DSA, by the key's own scheme (20.7).

    A restricted key signs only digests with a ticket of this TPM, and no mu: there are no tickets
    for it.
    """
    scheme = _digest_scheme(key_handle, context)
    restricted = has(key_handle.public, TPMA_OBJECT.RESTRICTED)
    if has(key_handle.public, TPMA_OBJECT.X509_SIGN):
        raise TpmError(RC.ATTRIBUTES, at="key_handle")
    if restricted and scheme.scheme == ALG.MLDSA:
        raise TpmError(RC.ATTRIBUTES, at="key_handle")
    hash_alg = signing.digest_hash(key_handle, scheme)
    _check_digest_size(hash_alg, digest)
    if validation.digest or restricted:
        tickets.check_hash_check(tpm, validation, hash_alg, digest, at="validation")
    return SignDigestResponse(signing.sign(tpm, key_handle, scheme, digest, context))


def _digest_scheme(key: LoadedObject, context: bytes) -> TPMT_SIG_SCHEME:
    """The scheme of a key that signs digests; raises as `signature_sequences.scheme_of`.

    Raises RC.SCHEME at `key_handle` for one that does not, RC.EXT_MU there for an ML-DSA key that
    does not permit it, RC.SIZE at `context` for one that mu includes already.
    """
    scheme = signature_sequences.scheme_of(key, context)
    if scheme.scheme in (ALG.HMAC, ALG.EDDSA):
        raise TpmError(RC.SCHEME, at="key_handle")
    if isinstance(key.public.parameters, TPMS_MLDSA_PARMS):
        if not key.public.parameters.allow_external_mu:
            raise TpmError(RC.EXT_MU, at="key_handle")
        if context:
            raise TpmError(RC.SIZE, at="context")
    return scheme


def _check_digest_size(hash_alg: int, digest: bytes) -> None:
    if len(digest) != (MU_SIZE if hash_alg == ALG.NULL else digest_size(hash_alg)):
        raise TpmError(RC.SIZE, at="digest")
