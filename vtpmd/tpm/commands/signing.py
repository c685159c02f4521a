"""Part 3, chapter 20: Signing and Signature Verification."""

from typing import Annotated

from ..command import Auth, command
from ..core import signing, tickets
from ..core.objects import has
from ..crypto.hashes import digest_size
from ..rc import RC, TpmError
from ..state import LoadedObject, Tpm
from ..wire.algorithms import TPMT_SIG_SCHEME_NULL, TPMT_SIGNATURE
from ..wire.attributes import TPMA_OBJECT
from ..wire.base import TPM2B_DIGEST, TPMT_TK_HASHCHECK, TPMT_TK_VERIFIED
from ..wire.constants import ALG, CC, RH
from ..wire.interface import TPMI_DH_OBJECT
from ..wire.structure import Structure


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
    signing.verify(key_handle, signature, digest, at="signature")
    named = key_handle.public.name_alg != ALG.NULL
    hierarchy = key_handle.hierarchy if named else RH.NULL
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
    scheme = signing.select_scheme(key_handle, in_scheme)
    hash_alg = signing.hash_of(scheme)
    if validation.digest or has(key_handle.public, TPMA_OBJECT.RESTRICTED):
        tickets.check_hash_check(tpm, validation, hash_alg, digest, at="validation")
    elif len(digest) != digest_size(hash_alg):
        raise TpmError(RC.SIZE, at="digest")
    return SignResponse(signing.sign(tpm, key_handle, scheme, digest))
