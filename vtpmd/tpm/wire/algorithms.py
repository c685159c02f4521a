"""Algorithm parameters and structures (Part 2, clause 11)."""

from typing import Annotated

from .base import TPM2B_AUTH, TPMT_HA
from .constants import ALG, MLDSA_PRIVATE_SIZE, MLKEM_PRIVATE_SIZE
from .interface import (
    TPM_ECC_CURVE,
    TPMI_AES_KEY_BITS,
    TPMI_ALG_ECC_SCHEME,
    TPMI_ALG_ECC_SCHEME_NULL,
    TPMI_ALG_HASH,
    TPMI_ALG_KDF,
    TPMI_ALG_KDF_NULL,
    TPMI_ALG_KEYEDHASH_SCHEME,
    TPMI_ALG_KEYEDHASH_SCHEME_NULL,
    TPMI_ALG_RSA_DECRYPT,
    TPMI_ALG_RSA_DECRYPT_NULL,
    TPMI_ALG_RSA_SCHEME,
    TPMI_ALG_RSA_SCHEME_NULL,
    TPMI_ALG_SIG_SCHEME,
    TPMI_ALG_SIG_SCHEME_NULL,
    TPMI_ALG_SYM,
    TPMI_ALG_SYM_MODE_NULL,
    TPMI_ALG_SYM_NULL,
    TPMI_ALG_SYM_OBJECT,
    TPMI_ALG_SYM_OBJECT_NULL,
    TPMI_CAMELLIA_KEY_BITS,
    TPMI_SM4_KEY_BITS,
    TPMI_TDES_KEY_BITS,
    UINT16,
)
from .limits import (
    LABEL_MAX_BUFFER,
    MAX_DERIVE_SIZE,
    MAX_ECC_KEY_BYTES,
    MAX_MLDSA_PUB_SIZE,
    MAX_MLDSA_SIG_SIZE,
    MAX_MLKEM_PUB_SIZE,
    MAX_RSA_KEY_BYTES,
    MAX_SIGNATURE_CTX_SIZE,
    MAX_SYM_DATA,
    MAX_SYM_KEY_BYTES,
    RSA_PRIVATE_SIZE,
)
from .structure import Nested, Sized, SizedStructure, Structure, Union

# 11.1 Symmetric

TPMU_SYM_KEY_BITS = Annotated[
    int | None,
    Union(
        "algorithm",
        {
            ALG.TDES: TPMI_TDES_KEY_BITS,
            ALG.AES: TPMI_AES_KEY_BITS,
            ALG.SM4: TPMI_SM4_KEY_BITS,
            ALG.CAMELLIA: TPMI_CAMELLIA_KEY_BITS,
            ALG.XOR: TPMI_ALG_HASH,
            ALG.NULL: None,
        },
    ),
]
TPMU_SYM_MODE = Annotated[
    int | None,
    Union(
        "algorithm",
        {
            ALG.TDES: TPMI_ALG_SYM_MODE_NULL,
            ALG.AES: TPMI_ALG_SYM_MODE_NULL,
            ALG.SM4: TPMI_ALG_SYM_MODE_NULL,
            ALG.CAMELLIA: TPMI_ALG_SYM_MODE_NULL,
            ALG.XOR: None,
            ALG.NULL: None,
        },
    ),
]


class TPMT_SYM_DEF(Structure):
    """How to encrypt parameters (11.1.6). For ALG.XOR, `key_bits` is a hash algorithm."""

    algorithm: TPMI_ALG_SYM
    key_bits: TPMU_SYM_KEY_BITS
    mode: TPMU_SYM_MODE


class TPMT_SYM_DEF_OBJECT(Structure):
    """A symmetric block cipher (11.1.7)."""

    algorithm: TPMI_ALG_SYM_OBJECT
    key_bits: TPMU_SYM_KEY_BITS
    mode: TPMU_SYM_MODE


TPMT_SYM_DEF_NULL = Annotated[TPMT_SYM_DEF, Nested(TPMT_SYM_DEF, algorithm=TPMI_ALG_SYM_NULL)]
TPMT_SYM_DEF_OBJECT_NULL = Annotated[
    TPMT_SYM_DEF_OBJECT, Nested(TPMT_SYM_DEF_OBJECT, algorithm=TPMI_ALG_SYM_OBJECT_NULL)
]

TPM2B_SYM_KEY = Annotated[bytes, Sized(MAX_SYM_KEY_BYTES, secret=True)]
TPM2B_LABEL = Annotated[bytes, Sized(LABEL_MAX_BUFFER)]
TPM2B_DERIVE = Annotated[bytes, Sized(MAX_DERIVE_SIZE)]
TPM2B_SENSITIVE_DATA = Annotated[bytes, Sized(MAX_SYM_DATA, secret=True)]


class TPMS_SYMCIPHER_PARMS(Structure):
    """Parameters of a symmetric block cipher object (11.1.9)."""

    sym: TPMT_SYM_DEF_OBJECT


class TPMS_DERIVE(Structure):
    """Label and context of a derived object (11.1.11)."""

    label: TPM2B_LABEL
    context: TPM2B_LABEL


class TPMS_SENSITIVE_CREATE(Structure):
    """What the caller puts into the sensitive area of a new object (11.1.15)."""

    user_auth: TPM2B_AUTH
    data: TPM2B_SENSITIVE_DATA


TPM2B_SENSITIVE_CREATE = Annotated[TPMS_SENSITIVE_CREATE, SizedStructure(TPMS_SENSITIVE_CREATE)]


class TPMS_SCHEME_HASH(Structure):
    """Details of a scheme that has only a hash (11.1.17)."""

    hash_alg: TPMI_ALG_HASH


class TPMS_SCHEME_ECDAA(Structure):
    """Details of a scheme split between Commit and signing (11.1.18)."""

    hash_alg: TPMI_ALG_HASH
    count: UINT16


class TPMS_SCHEME_XOR(Structure):
    """Details of XOR obfuscation (11.1.21)."""

    hash_alg: TPMI_ALG_HASH
    kdf: TPMI_ALG_KDF_NULL


class TPMT_KEYEDHASH_SCHEME(Structure):
    """The scheme of a keyedHash object (11.1.23)."""

    scheme: TPMI_ALG_KEYEDHASH_SCHEME
    details: Annotated[
        TPMS_SCHEME_HASH | TPMS_SCHEME_XOR | None,
        Union("scheme", {ALG.HMAC: TPMS_SCHEME_HASH, ALG.XOR: TPMS_SCHEME_XOR, ALG.NULL: None}),
    ]


TPMT_KEYEDHASH_SCHEME_NULL = Annotated[
    TPMT_KEYEDHASH_SCHEME, Nested(TPMT_KEYEDHASH_SCHEME, scheme=TPMI_ALG_KEYEDHASH_SCHEME_NULL)
]

# 11.2 Asymmetric

_RSA_SIGNING = {ALG.RSASSA: TPMS_SCHEME_HASH, ALG.RSAPSS: TPMS_SCHEME_HASH}
_RSA_ENCRYPTION = {ALG.RSAES: None, ALG.OAEP: TPMS_SCHEME_HASH}
_ECC_SIGNING = {
    ALG.ECDSA: TPMS_SCHEME_HASH,
    ALG.ECDAA: TPMS_SCHEME_ECDAA,
    ALG.SM2: TPMS_SCHEME_HASH,
    ALG.ECSCHNORR: TPMS_SCHEME_HASH,
    ALG.EDDSA: None,
    ALG.HASH_EDDSA: None,
}
_MLDSA_SIGNING = {ALG.MLDSA: None, ALG.HASH_MLDSA: None}
"""Without details: errata 1, 2.3."""
# TPMU_ECC_SCHEME (11.2.5.6) leaves these out although TPMI_ALG_ECC_SCHEME allows them.
_ECC_EXCHANGE = {ALG.ECDH: TPMS_SCHEME_HASH, ALG.ECMQV: TPMS_SCHEME_HASH}


class TPMT_SIG_SCHEME(Structure):
    """A signing scheme (11.2.1.5)."""

    scheme: TPMI_ALG_SIG_SCHEME
    details: Annotated[
        TPMS_SCHEME_HASH | TPMS_SCHEME_ECDAA | None,
        Union(
            "scheme",
            {
                **_RSA_SIGNING,
                **_ECC_SIGNING,
                **_MLDSA_SIGNING,
                ALG.HMAC: TPMS_SCHEME_HASH,
                ALG.NULL: None,
            },
        ),
    ]


class TPMT_KDF_SCHEME(Structure):
    """A key derivation scheme (11.2.3.3)."""

    scheme: TPMI_ALG_KDF
    details: Annotated[
        TPMS_SCHEME_HASH | None,
        Union(
            "scheme",
            {
                ALG.MGF1: TPMS_SCHEME_HASH,
                ALG.KDF2: TPMS_SCHEME_HASH,
                ALG.KDF1_SP800_56A: TPMS_SCHEME_HASH,
                ALG.KDF1_SP800_108: TPMS_SCHEME_HASH,
                ALG.HKDF: TPMS_SCHEME_HASH,
                ALG.NULL: None,
            },
        ),
    ]


TPMU_RSA_SCHEME = Annotated[
    TPMS_SCHEME_HASH | None,
    Union("scheme", {**_RSA_SIGNING, **_RSA_ENCRYPTION, ALG.NULL: None}),
]


class TPMT_RSA_SCHEME(Structure):
    """The scheme of an RSA key (11.2.4.3)."""

    scheme: TPMI_ALG_RSA_SCHEME
    details: TPMU_RSA_SCHEME


class TPMT_RSA_DECRYPT(Structure):
    """A padding scheme of RSA_Encrypt and RSA_Decrypt (11.2.4.5)."""

    scheme: TPMI_ALG_RSA_DECRYPT
    details: TPMU_RSA_SCHEME


class TPMT_ECC_SCHEME(Structure):
    """The scheme of an ECC key (11.2.5.7)."""

    scheme: TPMI_ALG_ECC_SCHEME
    details: Annotated[
        TPMS_SCHEME_HASH | TPMS_SCHEME_ECDAA | None,
        Union("scheme", {**_ECC_SIGNING, **_ECC_EXCHANGE, ALG.NULL: None}),
    ]


TPMT_SIG_SCHEME_NULL = Annotated[
    TPMT_SIG_SCHEME, Nested(TPMT_SIG_SCHEME, scheme=TPMI_ALG_SIG_SCHEME_NULL)
]
TPMT_KDF_SCHEME_NULL = Annotated[TPMT_KDF_SCHEME, Nested(TPMT_KDF_SCHEME, scheme=TPMI_ALG_KDF_NULL)]
TPMT_RSA_SCHEME_NULL = Annotated[
    TPMT_RSA_SCHEME, Nested(TPMT_RSA_SCHEME, scheme=TPMI_ALG_RSA_SCHEME_NULL)
]
TPMT_RSA_DECRYPT_NULL = Annotated[
    TPMT_RSA_DECRYPT, Nested(TPMT_RSA_DECRYPT, scheme=TPMI_ALG_RSA_DECRYPT_NULL)
]
TPMT_ECC_SCHEME_NULL = Annotated[
    TPMT_ECC_SCHEME, Nested(TPMT_ECC_SCHEME, scheme=TPMI_ALG_ECC_SCHEME_NULL)
]

TPM2B_PUBLIC_KEY_RSA = Annotated[bytes, Sized(MAX_RSA_KEY_BYTES)]
TPM2B_PRIVATE_KEY_RSA = Annotated[bytes, Sized(RSA_PRIVATE_SIZE, secret=True)]
TPM2B_ECC_PARAMETER = Annotated[bytes, Sized(MAX_ECC_KEY_BYTES)]


class TPMS_ECC_POINT(Structure):
    """Affine coordinates of a point (11.2.5.2), big endian."""

    x: TPM2B_ECC_PARAMETER
    y: TPM2B_ECC_PARAMETER


TPM2B_ECC_POINT = Annotated[TPMS_ECC_POINT, SizedStructure(TPMS_ECC_POINT)]


class TPMS_ALGORITHM_DETAIL_ECC(Structure):
    """The parameters of a curve (11.2.5.8); `key_size` in bits."""

    curve_id: TPM_ECC_CURVE
    key_size: UINT16
    kdf: TPMT_KDF_SCHEME_NULL
    sign: TPMT_ECC_SCHEME_NULL
    p: TPM2B_ECC_PARAMETER
    a: TPM2B_ECC_PARAMETER
    b: TPM2B_ECC_PARAMETER
    g_x: TPM2B_ECC_PARAMETER
    g_y: TPM2B_ECC_PARAMETER
    n: TPM2B_ECC_PARAMETER
    h: TPM2B_ECC_PARAMETER


TPM2B_PUBLIC_KEY_MLKEM = Annotated[bytes, Sized(MAX_MLKEM_PUB_SIZE)]
TPM2B_PRIVATE_KEY_MLKEM = Annotated[
    bytes, Sized(MLKEM_PRIVATE_SIZE, minimum=MLKEM_PRIVATE_SIZE, secret=True)
]
TPM2B_PUBLIC_KEY_MLDSA = Annotated[bytes, Sized(MAX_MLDSA_PUB_SIZE)]
TPM2B_PRIVATE_KEY_MLDSA = Annotated[
    bytes, Sized(MLDSA_PRIVATE_SIZE, minimum=MLDSA_PRIVATE_SIZE, secret=True)
]

# 11.3 Signatures


class TPMS_SIGNATURE_RSA(Structure):
    """An RSA signature (11.3.1)."""

    hash: TPMI_ALG_HASH
    sig: TPM2B_PUBLIC_KEY_RSA


class TPMS_SIGNATURE_ECC(Structure):
    """A signature of two integers (11.3.2), big endian."""

    hash: TPMI_ALG_HASH
    signature_r: TPM2B_ECC_PARAMETER
    signature_s: TPM2B_ECC_PARAMETER


TPM2B_SIGNATURE_MLDSA = Annotated[bytes, Sized(MAX_MLDSA_SIG_SIZE)]


class TPMS_SIGNATURE_HASH_MLDSA(Structure):
    """A HashML-DSA signature with the hash of the message (11.2.7.2)."""

    hash: TPMI_ALG_HASH
    signature: TPM2B_SIGNATURE_MLDSA


TPM2B_SIGNATURE_EDDSA = Annotated[bytes, Sized(2 * MAX_ECC_KEY_BYTES)]
TPM2B_SIGNATURE_CTX = Annotated[bytes, Sized(MAX_SIGNATURE_CTX_SIZE)]
TPM2B_SIGNATURE_HINT = Annotated[bytes, Sized(MAX_ECC_KEY_BYTES)]


class TPMT_SIGNATURE(Structure):
    """A signature (11.3.6)."""

    sig_alg: TPMI_ALG_SIG_SCHEME
    signature: Annotated[
        TPMS_SIGNATURE_RSA
        | TPMS_SIGNATURE_ECC
        | TPMS_SIGNATURE_HASH_MLDSA
        | TPMT_HA
        | bytes
        | None,
        Union(
            "sig_alg",
            {
                ALG.RSASSA: TPMS_SIGNATURE_RSA,
                ALG.RSAPSS: TPMS_SIGNATURE_RSA,
                ALG.ECDSA: TPMS_SIGNATURE_ECC,
                ALG.ECDAA: TPMS_SIGNATURE_ECC,
                ALG.SM2: TPMS_SIGNATURE_ECC,
                ALG.ECSCHNORR: TPMS_SIGNATURE_ECC,
                ALG.EDDSA: TPM2B_SIGNATURE_EDDSA,
                ALG.HASH_EDDSA: TPM2B_SIGNATURE_EDDSA,
                ALG.MLDSA: TPM2B_SIGNATURE_MLDSA,
                ALG.HASH_MLDSA: TPMS_SIGNATURE_HASH_MLDSA,
                ALG.HMAC: TPMT_HA,
                ALG.NULL: None,
            },
        ),
    ]


TPMT_SIGNATURE_NULL = Annotated[
    TPMT_SIGNATURE, Nested(TPMT_SIGNATURE, sig_alg=TPMI_ALG_SIG_SCHEME_NULL)
]

# 11.4 Key/secret exchange

TPM2B_ENCRYPTED_SECRET = Annotated[bytes, Sized("max_encrypted_secret_size")]
