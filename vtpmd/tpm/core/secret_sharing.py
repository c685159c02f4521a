"""Secrets shared with the holder of a key: salts, seeds of duplicates and credentials.

``label`` is one of `crypto.labelled`: SECRET, DUPLICATE, IDENTITY.
"""

from ..crypto import labelled
from ..rc import RC, TpmError
from ..state import LoadedObject, Tpm
from ..wire.algorithms import TPMS_ECC_POINT, TPMS_SCHEME_HASH
from ..wire.constants import ALG
from ..wire.objects import TPMT_PUBLIC
from . import keys


def _oaep_hash(public: TPMT_PUBLIC) -> int:
    """The hash of the key's OAEP scheme, else its nameAlg (Part 1, 43.4)."""
    scheme = keys.rsa_parameters(public).scheme
    if scheme.scheme == ALG.OAEP and isinstance(scheme.details, TPMS_SCHEME_HASH):
        return scheme.details.hash_alg
    return public.name_alg


def encrypt(tpm: Tpm, public: TPMT_PUBLIC, label: bytes) -> tuple[bytes, bytes]:
    """A fresh secret, and the TPM2B_ENCRYPTED_SECRET that only the key's holder can open.

    Raises TpmError(RC.KEY) for a key that can't share secrets, RC.VALUE, RC.HASH, RC.ECC_POINT.
    """
    if public.type == ALG.RSA:
        return labelled.rsa_encapsulate(
            keys.rsa_public(public), _oaep_hash(public), label, tpm.random
        )
    if public.type == ALG.ECC:
        curve = keys.curve_of(public)
        seed, ephemeral = labelled.ecc_encapsulate(
            curve, public.name_alg, label, keys.ecc_public(public), tpm.random
        )
        return seed, keys.point_to(curve, ephemeral).marshal()
    raise TpmError(RC.KEY)


def decrypt(tpm: Tpm, key: LoadedObject, label: bytes, encrypted: bytes) -> bytes:
    """The secret in a TPM2B_ENCRYPTED_SECRET made for ``key``, which has its sensitive area.

    Raises TpmError(RC.KEY) for a key that can't share secrets, RC.VALUE, RC.SIZE, RC.ECC_POINT.
    """
    public = key.public
    if public.type == ALG.RSA:
        return labelled.rsa_decapsulate(
            keys.rsa_private(key), _oaep_hash(public), label, encrypted, tpm.random
        )
    if public.type == ALG.ECC:
        ephemeral = keys.point_from(TPMS_ECC_POINT.parse(encrypted, tpm.profile))
        return labelled.ecc_decapsulate(
            keys.curve_of(public),
            public.name_alg,
            label,
            keys.ecc_private(key),
            keys.ecc_public(public),
            ephemeral,
        )
    raise TpmError(RC.KEY)
