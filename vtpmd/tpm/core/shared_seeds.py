"""Seeds shared with the holder of an asymmetric key (Part 1, 8.4.5.2).

They are salts of sessions, and seeds that protect duplicates and credentials.
`label` is one of `crypto.labelled`: SECRET, DUPLICATE, IDENTITY.
"""

from ..crypto import labelled
from ..rc import RC, TpmError
from ..state import LoadedObject, Tpm
from ..wire.algorithms import TPMS_ECC_POINT, TPMS_SCHEME_HASH
from ..wire.constants import ALG
from ..wire.objects import TPMS_RSA_PARMS, TPMT_PUBLIC
from . import keys


def encapsulate(tpm: Tpm, key: LoadedObject, label: bytes) -> tuple[bytes, bytes]:
    """(seed, TPM2B_ENCRYPTED_SECRET) for the holder of an RSA, ECC or ML-KEM decryption key.

    Only the public area of `key` is used. Raises RC.VALUE for a key without nameAlg, which can't
    protect anything, and RC.VALUE or RC.HASH for an RSA key too short for its nameAlg.
    """
    public, name_alg = key.public, key.public.name_alg
    if name_alg == ALG.NULL:
        raise TpmError(RC.VALUE)
    if public.type == ALG.RSA:
        return labelled.rsa_encapsulate(keys.rsa_public(public), name_alg, label, tpm.random)
    if public.type == ALG.MLKEM:
        encapsulation_key = keys.mlkem_public(key)
        return labelled.mlkem_encapsulate(encapsulation_key, name_alg, label, keys.encoded(public))
    if keys.is_in_octets(public):
        form, known = keys.montgomery_curve(public), keys.public_octets(public)
        seed, octets = labelled.octets_encapsulate(form, name_alg, label, known, tpm.random)
        return seed, keys.octets_point(octets).marshal()
    curve, recipient = keys.ecc_curve(public), keys.ecc_public(public)
    seed, ephemeral = labelled.ecc_encapsulate(curve, name_alg, label, recipient, tpm.random)
    return seed, keys.coordinates(curve, ephemeral).marshal()


def decapsulate(tpm: Tpm, key: LoadedObject, label: bytes, secret: bytes) -> bytes:
    """The seed in a TPM2B_ENCRYPTED_SECRET, by a key whose sensitive area is loaded.

    Raises RC.SCHEME, RC.SIZE, RC.VALUE, RC.BINDING for RSA; RC.INSUFFICIENT, RC.SIZE,
    RC.ECC_POINT, RC.NO_RESULT for ECC; RC.SIZE for ML-KEM.
    """
    public = key.public
    if public.type == ALG.RSA:
        private = keys.rsa_private(key)
        return labelled.rsa_decapsulate(private, _oaep_hash(public), label, secret, tpm.random)
    if public.type == ALG.MLKEM:
        return labelled.mlkem_decapsulate(
            keys.mlkem_parms(public),
            public.name_alg,
            label,
            keys.mlkem_private(key),
            keys.encoded(public),
            secret,
        )
    # As in libtpms, octets after the point don't matter.
    ephemeral, _ = TPMS_ECC_POINT.unmarshal(secret, 0, tpm.profile)
    if keys.is_in_octets(public):
        return labelled.octets_decapsulate(
            keys.montgomery_curve(public),
            public.name_alg,
            label,
            keys.private_octets(key),
            keys.public_octets(public),
            keys.octets_of(ephemeral),
        )
    return labelled.ecc_decapsulate(
        keys.ecc_curve(public),
        public.name_alg,
        label,
        keys.ecc_private(key),
        keys.ecc_public(public),
        keys.point(ephemeral),
    )


def _oaep_hash(public: TPMT_PUBLIC) -> int:
    """The hash of the key's OAEP scheme, its nameAlg if it has no scheme (Part 1, 43.4)."""
    assert isinstance(public.parameters, TPMS_RSA_PARMS)
    scheme = public.parameters.scheme
    if scheme.scheme == ALG.NULL:
        return public.name_alg
    if scheme.scheme != ALG.OAEP:
        raise TpmError(RC.SCHEME)
    assert isinstance(scheme.details, TPMS_SCHEME_HASH)
    return scheme.details.hash_alg
