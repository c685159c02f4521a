"""Endorsement keys by their templates (TCG EK Credential Profile, annex B).

A key is derived from the endorsement primary seed whenever it is wanted, and never read from a
persistent handle: there a guest may have put a key of its own, and TPM2_Clear removes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .core import creation
from .crypto.hashes import digest
from .profile import Profile
from .state import LoadedObject, Tpm
from .wire.algorithms import (
    TPMS_ECC_POINT,
    TPMS_SCHEME_HASH,
    TPMT_ECC_SCHEME,
    TPMT_KDF_SCHEME,
    TPMT_RSA_SCHEME,
    TPMT_SIG_SCHEME,
    TPMT_SYM_DEF_OBJECT,
)
from .wire.attributes import TPMA_OBJECT
from .wire.constants import ALG, ECC_CURVE
from .wire.objects import TPMS_ECC_PARMS, TPMS_RSA_PARMS, TPMT_PUBLIC

_POLICY_A = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
_POLICY_B_SHA384 = bytes.fromhex(
    "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419ca"
    "cb47ba09699646150f9fc000f3f80e12"
)
_LOW_RANGE: Final = (
    TPMA_OBJECT.FIXED_TPM
    | TPMA_OBJECT.FIXED_PARENT
    | TPMA_OBJECT.SENSITIVE_DATA_ORIGIN
    | TPMA_OBJECT.ADMIN_WITH_POLICY
    | TPMA_OBJECT.RESTRICTED
    | TPMA_OBJECT.DECRYPT
)
_HIGH_RANGE: Final = _LOW_RANGE | TPMA_OBJECT.USER_WITH_AUTH
_AES_128_CFB: Final = TPMT_SYM_DEF_OBJECT(ALG.AES, 128, ALG.CFB)
_AES_256_CFB: Final = TPMT_SYM_DEF_OBJECT(ALG.AES, 256, ALG.CFB)


def _ecc(cipher: TPMT_SYM_DEF_OBJECT, curve: int) -> TPMS_ECC_PARMS:
    no_scheme, no_kdf = TPMT_ECC_SCHEME(ALG.NULL, None), TPMT_KDF_SCHEME(ALG.NULL, None)
    return TPMS_ECC_PARMS(cipher, no_scheme, curve, no_kdf)


RSA_EK_TEMPLATE: Final = TPMT_PUBLIC(
    type=ALG.RSA,
    name_alg=ALG.SHA256,
    object_attributes=_LOW_RANGE,
    auth_policy=_POLICY_A,
    parameters=TPMS_RSA_PARMS(_AES_128_CFB, TPMT_RSA_SCHEME(ALG.NULL, None), 2048, 0),
    unique=bytes(256),
)
"""Template L-1."""
ECC_EK_TEMPLATE: Final = TPMT_PUBLIC(
    type=ALG.ECC,
    name_alg=ALG.SHA256,
    object_attributes=_LOW_RANGE,
    auth_policy=_POLICY_A,
    parameters=_ecc(_AES_128_CFB, ECC_CURVE.NIST_P256),
    unique=TPMS_ECC_POINT(bytes(32), bytes(32)),
)
"""Template L-2."""
_P384_EK_TEMPLATE: Final = TPMT_PUBLIC(
    type=ALG.ECC,
    name_alg=ALG.SHA384,
    object_attributes=_HIGH_RANGE,
    auth_policy=_POLICY_B_SHA384,
    parameters=_ecc(_AES_256_CFB, ECC_CURVE.NIST_P384),
    unique=TPMS_ECC_POINT(b"", b""),
)
"""Template H-3."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of EK: its template, the index of its certificate, and how it signs a request."""

    template: TPMT_PUBLIC
    index: int
    scheme: TPMT_SIG_SCHEME


KINDS: Final[Mapping[str, Kind]] = {
    "rsa-2048": Kind(
        RSA_EK_TEMPLATE, 0x01C00002, TPMT_SIG_SCHEME(ALG.RSASSA, TPMS_SCHEME_HASH(ALG.SHA256))
    ),
    "ecc-p256": Kind(
        ECC_EK_TEMPLATE, 0x01C0000A, TPMT_SIG_SCHEME(ALG.ECDSA, TPMS_SCHEME_HASH(ALG.SHA256))
    ),
    "ecc-p384": Kind(
        _P384_EK_TEMPLATE, 0x01C00016, TPMT_SIG_SCHEME(ALG.ECDSA, TPMS_SCHEME_HASH(ALG.SHA384))
    ),
}
"""By the name that people use."""


def available(profile: Profile) -> tuple[str, ...]:
    """The kinds of EKs that a TPM with this profile can make."""
    return tuple(name for name, kind in KINDS.items() if _fits(profile, kind.template))


def _fits(profile: Profile, template: TPMT_PUBLIC) -> bool:
    parameters = template.parameters
    assert isinstance(parameters, TPMS_RSA_PARMS | TPMS_ECC_PARMS)
    cipher = parameters.symmetric
    return (
        template.name_alg in profile.hash_algs
        and cipher.key_bits in profile.key_bits.get(cipher.algorithm, ())
        and (
            parameters.curve_id in profile.ecc_curves
            if isinstance(parameters, TPMS_ECC_PARMS)
            else parameters.key_bits in profile.rsa_key_bits
        )
    )


def endorsement_key(tpm: Tpm, kind: str, modulus: int | None = None) -> LoadedObject:
    """The EK of a kind that is `available`, derived from the seed.

    `modulus`: what is thought to be that of an RSA key, which is found sooner then.
    """
    return creation.primary_object(
        tpm, tpm.permanent.endorsement, KINDS[kind].template, b"", b"", modulus
    )


def seed_name(tpm: Tpm) -> bytes:
    """What names the endorsement primary seed, and tells nothing of it: 32 octets.

    As long as it is the same, so are the EKs.
    """
    endorsement = tpm.permanent.endorsement
    level = bytes((endorsement.seed_level,))
    return digest(ALG.SHA256, b"vtpmd endorsement primary seed", level, endorsement.seed)
