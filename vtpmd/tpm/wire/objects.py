"""Public and private areas of objects (Part 2, clause 12)."""

from typing import Annotated

from .algorithms import (
    TPM2B_ECC_PARAMETER,
    TPM2B_PRIVATE_KEY_MLDSA,
    TPM2B_PRIVATE_KEY_MLKEM,
    TPM2B_PRIVATE_KEY_RSA,
    TPM2B_PUBLIC_KEY_MLDSA,
    TPM2B_PUBLIC_KEY_MLKEM,
    TPM2B_PUBLIC_KEY_RSA,
    TPM2B_SENSITIVE_DATA,
    TPM2B_SYM_KEY,
    TPMS_DERIVE,
    TPMS_ECC_POINT,
    TPMS_SYMCIPHER_PARMS,
    TPMT_ECC_SCHEME_NULL,
    TPMT_KDF_SCHEME_NULL,
    TPMT_KEYEDHASH_SCHEME_NULL,
    TPMT_RSA_SCHEME_NULL,
    TPMT_SYM_DEF_OBJECT_NULL,
)
from .attributes import OBJECT_ATTRIBUTES
from .base import TPM2B_AUTH, TPM2B_DIGEST
from .constants import ALG
from .interface import (
    TPMI_ALG_HASH,
    TPMI_ALG_HASH_NULL,
    TPMI_ALG_PUBLIC,
    TPMI_ALG_PUBLIC_NULL,
    TPMI_ECC_CURVE,
    TPMI_MLDSA_PARMS,
    TPMI_MLKEM_PARMS,
    TPMI_RSA_KEY_BITS,
    TPMI_YES_NO,
    UINT32,
)
from .limits import MAX_DIGEST_SIZE, MAX_ID_OBJECT_SIZE, MAX_PRIVATE_SIZE
from .structure import Nested, Rest, Sized, SizedStructure, Structure, Union


class TPMS_KEYEDHASH_PARMS(Structure):
    """Parameters of a keyedHash object (12.2.3.3)."""

    scheme: TPMT_KEYEDHASH_SCHEME_NULL


class TPMS_RSA_PARMS(Structure):
    """Parameters of an RSA key (12.2.3.4); exponent 0 stands for 65537."""

    symmetric: TPMT_SYM_DEF_OBJECT_NULL
    scheme: TPMT_RSA_SCHEME_NULL
    key_bits: TPMI_RSA_KEY_BITS
    exponent: UINT32


class TPMS_ECC_PARMS(Structure):
    """Parameters of an ECC key (12.2.3.5)."""

    symmetric: TPMT_SYM_DEF_OBJECT_NULL
    scheme: TPMT_ECC_SCHEME_NULL
    curve_id: TPMI_ECC_CURVE
    kdf: TPMT_KDF_SCHEME_NULL


class TPMS_MLDSA_PARMS(Structure):
    """Parameters of an ML-DSA key (12.2.3.6)."""

    parameter_set: TPMI_MLDSA_PARMS
    allow_external_mu: TPMI_YES_NO


class TPMS_HASH_MLDSA_PARMS(Structure):
    """Parameters of a HashML-DSA key (12.2.3.7)."""

    parameter_set: TPMI_MLDSA_PARMS
    hash_alg: TPMI_ALG_HASH


class TPMS_MLKEM_PARMS(Structure):
    """Parameters of an ML-KEM key (12.2.3.8)."""

    symmetric: TPMT_SYM_DEF_OBJECT_NULL
    parameter_set: TPMI_MLKEM_PARMS


TPMU_PUBLIC_PARMS = Annotated[
    TPMS_KEYEDHASH_PARMS
    | TPMS_SYMCIPHER_PARMS
    | TPMS_RSA_PARMS
    | TPMS_ECC_PARMS
    | TPMS_MLDSA_PARMS
    | TPMS_HASH_MLDSA_PARMS
    | TPMS_MLKEM_PARMS,
    Union(
        "type",
        {
            ALG.KEYEDHASH: TPMS_KEYEDHASH_PARMS,
            ALG.SYMCIPHER: TPMS_SYMCIPHER_PARMS,
            ALG.RSA: TPMS_RSA_PARMS,
            ALG.ECC: TPMS_ECC_PARMS,
            ALG.MLDSA: TPMS_MLDSA_PARMS,
            ALG.HASH_MLDSA: TPMS_HASH_MLDSA_PARMS,
            ALG.MLKEM: TPMS_MLKEM_PARMS,
            ALG.NULL: TPMS_KEYEDHASH_PARMS,  # of a sequence object, which is never sent
        },
    ),
]


class TPMT_PUBLIC_PARMS(Structure):
    """Parameters to be tested by TestParms (12.2.3.10)."""

    type: TPMI_ALG_PUBLIC
    parameters: TPMU_PUBLIC_PARMS


class TPMT_PUBLIC(Structure):
    """The public area of an object (12.2.4).

    `unique` is a TPMS_DERIVE only in a template for a derived object.
    """

    type: TPMI_ALG_PUBLIC
    name_alg: TPMI_ALG_HASH
    object_attributes: OBJECT_ATTRIBUTES
    auth_policy: TPM2B_DIGEST
    parameters: TPMU_PUBLIC_PARMS
    unique: Annotated[
        bytes | TPMS_ECC_POINT | TPMS_DERIVE,
        Union(
            "type",
            {
                ALG.KEYEDHASH: TPM2B_DIGEST,
                ALG.SYMCIPHER: TPM2B_DIGEST,
                ALG.RSA: TPM2B_PUBLIC_KEY_RSA,
                ALG.ECC: TPMS_ECC_POINT,
                ALG.MLDSA: TPM2B_PUBLIC_KEY_MLDSA,
                ALG.HASH_MLDSA: TPM2B_PUBLIC_KEY_MLDSA,
                ALG.MLKEM: TPM2B_PUBLIC_KEY_MLKEM,
                ALG.NULL: TPM2B_DIGEST,
            },
        ),
    ]


TPMT_PUBLIC_NULL = Annotated[TPMT_PUBLIC, Nested(TPMT_PUBLIC, name_alg=TPMI_ALG_HASH_NULL)]
TPMT_PUBLIC_DERIVE = Annotated[TPMT_PUBLIC, Nested(TPMT_PUBLIC, unique=TPMS_DERIVE)]
"""What TPM2B_TEMPLATE holds for an object to be derived; it can only be read (12.2.6)."""
TPMT_PUBLIC_LOADED = Annotated[
    TPMT_PUBLIC, Nested(TPMT_PUBLIC, type=TPMI_ALG_PUBLIC_NULL, name_alg=TPMI_ALG_HASH_NULL)
]
"""Public areas in a TPM's state, also of external objects without nameAlg and of sequences."""

TPM2B_PUBLIC = Annotated[TPMT_PUBLIC, SizedStructure(TPMT_PUBLIC)]
TPM2B_PUBLIC_NULL = Annotated[TPMT_PUBLIC, SizedStructure(TPMT_PUBLIC_NULL)]
TPM2B_TEMPLATE = Annotated[bytes, Sized("max_public_size")]


class TPMT_SENSITIVE(Structure):
    """The sensitive area of an object (12.3.2.4)."""

    sensitive_type: TPMI_ALG_PUBLIC
    auth_value: TPM2B_AUTH
    seed_value: Annotated[bytes, Sized(MAX_DIGEST_SIZE, secret=True)]
    sensitive: Annotated[
        bytes,
        Union(
            "sensitive_type",
            {
                ALG.RSA: TPM2B_PRIVATE_KEY_RSA,
                ALG.ECC: TPM2B_ECC_PARAMETER,
                ALG.KEYEDHASH: TPM2B_SENSITIVE_DATA,
                ALG.SYMCIPHER: TPM2B_SYM_KEY,
                ALG.MLDSA: TPM2B_PRIVATE_KEY_MLDSA,
                ALG.HASH_MLDSA: TPM2B_PRIVATE_KEY_MLDSA,
                ALG.MLKEM: TPM2B_PRIVATE_KEY_MLKEM,
            },
            secret=True,
        ),
    ]


TPM2B_SENSITIVE = Annotated[TPMT_SENSITIVE | None, SizedStructure(TPMT_SENSITIVE, optional=True)]
TPM2B_PRIVATE = Annotated[bytes, Sized(MAX_PRIVATE_SIZE, secret=True)]


class TPMS_PROTECTED(Structure):
    """An integrity value and what it protects: the contents of TPM2B_PRIVATE and TPM2B_ID_OBJECT.

    `_PRIVATE` and `TPMS_ID_OBJECT` (12.3.6, 12.4.2) show the plain text instead.
    """

    integrity: TPM2B_DIGEST
    encrypted: Annotated[bytes, Rest()]


TPM2B_ID_OBJECT = Annotated[bytes, Sized(MAX_ID_OBJECT_SIZE)]
