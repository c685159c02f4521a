"""Part 3, chapter 14: Asymmetric Primitives, those of key encapsulation (14.10 and 14.11)."""

from typing import Annotated

from ..command import Auth, command
from ..core import keys, templates
from ..core.objects import has
from ..crypto import dhkem, mlkem
from ..profile import MESSAGE_SIGNING_VERSION
from ..rc import RC, TpmError, located
from ..state import LoadedObject, Tpm
from ..wire.algorithms import TPMS_SCHEME_HASH
from ..wire.attributes import TPMA_OBJECT
from ..wire.base import TPM2B_KEM_CIPHERTEXT, TPM2B_SHARED_SECRET
from ..wire.constants import ALG, CC
from ..wire.interface import TPMI_DH_OBJECT
from ..wire.objects import TPMS_ECC_PARMS
from ..wire.structure import Structure


class EncapsulateResponse(Structure):
    shared_secret: TPM2B_SHARED_SECRET
    ciphertext: TPM2B_KEM_CIPHERTEXT


@command(CC.ENCAPSULATE, version=MESSAGE_SIGNING_VERSION)
def encapsulate(
    tpm: Tpm, key_handle: Annotated[LoadedObject, TPMI_DH_OBJECT], /
) -> EncapsulateResponse:
    """Make a secret that the holder of a key can have from a ciphertext (14.10)."""
    public = key_handle.public
    if public.type == ALG.MLKEM:
        return EncapsulateResponse(*mlkem.encapsulate(keys.mlkem_public(key_handle)))
    hash_alg = _dhkem_hash(key_handle)
    if keys.is_in_octets(public):
        form, known = keys.montgomery_curve(public), keys.public_octets(public)
        return EncapsulateResponse(*dhkem.encapsulate_in_octets(form, hash_alg, known, tpm.random))
    curve, recipient = keys.ecc_curve(public), keys.ecc_public(public)
    if not curve.contains(recipient):
        raise TpmError(RC.KEY, at="key_handle")
    return EncapsulateResponse(*dhkem.encapsulate(curve, hash_alg, recipient, tpm.random))


class DecapsulateResponse(Structure):
    shared_secret: TPM2B_SHARED_SECRET


@command(CC.DECAPSULATE, version=MESSAGE_SIGNING_VERSION)
def decapsulate(
    tpm: Tpm,
    key_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER],
    /,
    ciphertext: TPM2B_KEM_CIPHERTEXT,
) -> DecapsulateResponse:
    """Recover the secret of a ciphertext with a key that is not restricted (14.11)."""
    public = key_handle.public
    hash_alg = ALG.NULL if public.type == ALG.MLKEM else _dhkem_hash(key_handle)
    restricted = has(public, TPMA_OBJECT.RESTRICTED)
    if restricted or not has(public, TPMA_OBJECT.DECRYPT):
        raise TpmError(RC.ATTRIBUTES, at="key_handle")
    with located("ciphertext"):
        if public.type == ALG.MLKEM:
            parms, private = keys.mlkem_parms(public), keys.mlkem_private(key_handle)
            return DecapsulateResponse(mlkem.decapsulate(parms, private, ciphertext))
        if keys.is_in_octets(public):
            form, known = keys.montgomery_curve(public), keys.public_octets(public)
            octets = keys.private_octets(key_handle)
            secret = dhkem.decapsulate_in_octets(form, hash_alg, octets, known, ciphertext)
            return DecapsulateResponse(secret)
        curve, recipient = keys.ecc_curve(public), keys.ecc_public(public)
        d = keys.ecc_private(key_handle)
        return DecapsulateResponse(dhkem.decapsulate(curve, hash_alg, d, recipient, ciphertext))


def _dhkem_hash(key: LoadedObject) -> int:
    """The hash of an ECC key's KDF. RC.KEY at `key_handle` for a key that is for no KEM."""
    parameters = key.public.parameters
    if not isinstance(parameters, TPMS_ECC_PARMS) or not templates.is_kem(parameters):
        raise TpmError(RC.KEY, at="key_handle")
    assert isinstance(parameters.kdf.details, TPMS_SCHEME_HASH)
    return parameters.kdf.details.hash_alg
