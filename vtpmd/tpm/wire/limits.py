"""The limits of this implementation, where Part 2 leaves them open. Sizes are in octets.

Wherever a guest could notice, they are those of libtpms, so that a guest moved from swtpm finds
none that is smaller. The size of a structure is that of its longest marshalled form.
"""

from typing import Final

from .constants import MLDSA_SIZES, MLKEM_SIZES

IMPLEMENTATION_PCR: Final = 24
PCR_SELECT_MIN: Final = 3
PCR_SELECT_MAX: Final = 3

MAX_LOADED_OBJECTS: Final = 3
MAX_LOADED_SESSIONS: Final = 3
MAX_ACTIVE_SESSIONS: Final = 64
MAX_SESSION_NUM: Final = 3

MIN_BUFFER_SIZE: Final = 2808
DEFAULT_BUFFER_SIZE: Final = 4096
"""Of commands and responses; the largest buffer of TPMs that have no keys which need more."""
CRB_BUFFER_SIZE: Final = 3968
"""The command response buffer of a PC Client TPM; an attestation by ML-DSA-65 fits into it."""
MAX_BUFFER_SIZE: Final = 8192
"""Into which one by ML-DSA-87 fits."""

MAX_DIGEST_SIZE: Final = 64
MAX_SYM_BLOCK_SIZE: Final = 16
MAX_SYM_KEY_BYTES: Final = 32
MAX_RSA_KEY_BYTES: Final = 512
MAX_ECC_KEY_BYTES: Final = 66
RSA_PRIVATE_SIZE: Final = MAX_RSA_KEY_BYTES // 2 * 5
"""A prime and four more values that libtpms stores with it in keys of fixedTPM parents."""

MAX_MLKEM_PUB_SIZE: Final = max(public for public, _ in MLKEM_SIZES.values())
MAX_MLKEM_CT_SIZE: Final = max(ciphertext for _, ciphertext in MLKEM_SIZES.values())
MAX_MLDSA_PUB_SIZE: Final = max(public for public, _ in MLDSA_SIZES.values())
MAX_MLDSA_SIG_SIZE: Final = max(signature for _, signature in MLDSA_SIZES.values())
"""Those of the largest parameter set, of which a profile may lack some."""

MAX_2B_BUFFER_SIZE: Final = 1024
MAX_EVENT_SIZE: Final = 1024
MAX_NV_BUFFER_SIZE: Final = 1024
MAX_NV_INDEX_SIZE: Final = 2048
MAX_SYM_DATA: Final = 128
LABEL_MAX_BUFFER: Final = 32
MAX_CONTEXT_SIZE: Final = 2680
MAX_SIGNATURE_CTX_SIZE: Final = 255
MAX_SHARED_SECRET_SIZE: Final = MAX_DIGEST_SIZE
MAX_VENDOR_PROPERTY_SIZE: Final = 512

_SIZED_DIGEST = 2 + MAX_DIGEST_SIZE
_SYM_DEF_OBJECT = 6

MAX_HA_SIZE: Final = 2 + MAX_DIGEST_SIZE
MAX_NAME_SIZE: Final = 68
"""A Name has 66 octets at most; TPMU_NAME, whose size is the limit, has a UINT32 and so has 68."""

MAX_DERIVE_SIZE: Final = 2 * (2 + LABEL_MAX_BUFFER)
MAX_ECC_POINT_SIZE: Final = 2 * (2 + MAX_ECC_KEY_BYTES)
MAX_KEM_CIPHERTEXT_SIZE: Final = max(MAX_ECC_POINT_SIZE, MAX_MLKEM_CT_SIZE)
MAX_ENCRYPTED_SECRET_SIZE: Final = max(MAX_RSA_KEY_BYTES, MAX_ECC_POINT_SIZE)
"""Of profiles without ML-KEM, as the next ones are those of profiles without ML-KEM and ML-DSA."""
MAX_PUBLIC_SIZE: Final = (
    2 + 2 + 4 + _SIZED_DIGEST + (_SYM_DEF_OBJECT + 4 + 2 + 4) + (2 + MAX_RSA_KEY_BYTES)
)
MAX_SENSITIVE_SIZE: Final = 2 + _SIZED_DIGEST + _SIZED_DIGEST + (2 + RSA_PRIVATE_SIZE)
MAX_PRIVATE_SIZE: Final = _SIZED_DIGEST + _SIZED_DIGEST + (2 + MAX_SENSITIVE_SIZE)
MAX_ID_OBJECT_SIZE: Final = _SIZED_DIGEST + _SIZED_DIGEST
MAX_CONTEXT_DATA_SIZE: Final = _SIZED_DIGEST + (2 + MAX_CONTEXT_SIZE)
MAX_ATTEST_SIZE: Final = (4 + 2 + (2 + MAX_NAME_SIZE) + (2 + MAX_HA_SIZE) + 17 + 8) + (
    (2 + MAX_NAME_SIZE) + 2 + (2 + MAX_NV_BUFFER_SIZE)
)

MAX_CAP_BUFFER: Final = 1024
MAX_CAP_DATA: Final = MAX_CAP_BUFFER - 4 - 4
MAX_CAP_ALGS: Final = MAX_CAP_DATA // 6
MAX_CAP_HANDLES: Final = MAX_CAP_DATA // 4
MAX_CAP_CC: Final = MAX_CAP_DATA // 4
MAX_TPM_PROPERTIES: Final = MAX_CAP_DATA // 8
MAX_PCR_PROPERTIES: Final = MAX_CAP_DATA // (4 + 1 + PCR_SELECT_MAX)
MAX_ECC_CURVES: Final = MAX_CAP_DATA // 2
MAX_TAGGED_POLICIES: Final = MAX_CAP_DATA // (4 + MAX_HA_SIZE)
MAX_ACT_DATA: Final = MAX_CAP_DATA // 12
MAX_SPDM_SESSION_INFO: Final = MAX_CAP_DATA // (2 * (2 + MAX_NAME_SIZE))
MAX_VENDOR_PROPERTY: Final = MAX_CAP_DATA // (2 + MAX_VENDOR_PROPERTY_SIZE)
MAX_ALG_LIST_SIZE: Final = 64
MAX_POLICY_DIGESTS: Final = 8
"""Branches of a PolicyOR and digests of a PCR_Read (10.8.5)."""
