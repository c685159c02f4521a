"""Base types, constants as fields, and interface types (Part 2, clauses 5 to 9, some of 11 and 12).

Each is a hint of a plain int. `…_NULL` is the type with the conditional value, which its table
marks with a plus sign.
"""

from typing import Annotated

from ..rc import RC
from .constants import ALG, CAP, CLOCK_ADJUST, EO, RH, SE, ST, SU
from .kinds import UInt
from .limits import IMPLEMENTATION_PCR, MAX_ACTIVE_SESSIONS, MAX_LOADED_OBJECTS

UINT8 = Annotated[int, UInt(1)]
UINT16 = Annotated[int, UInt(2)]
UINT32 = Annotated[int, UInt(4)]
UINT64 = Annotated[int, UInt(8)]
INT32 = Annotated[int, UInt(4, signed=True)]

TPM_ALG_ID = Annotated[int, UInt(2)]
TPM_ECC_CURVE = Annotated[int, UInt(2)]
TPM_CC = Annotated[int, UInt(4)]
TPM_PT = Annotated[int, UInt(4)]
TPM_PT_PCR = Annotated[int, UInt(4)]
TPM_HANDLE = Annotated[int, UInt(4)]
TPM_HT = Annotated[int, UInt(1)]
TPM_CLOCK_ADJUST = Annotated[int, UInt(1, allowed=CLOCK_ADJUST, signed=True)]
TPM_EO = Annotated[int, UInt(2, allowed=EO)]
TPM_SU = Annotated[int, UInt(2, allowed=SU)]
TPM_SE = Annotated[int, UInt(1, allowed=SE)]
TPM_CAP = Annotated[int, UInt(4, allowed=CAP)]

TPMI_YES_NO = Annotated[int, UInt(1, allowed=(0, 1))]

# Handle ranges (7.5). Those the TPM assigns are no wider than what it can assign.
_TRANSIENT = (0x80000000, 0x80000000 + MAX_LOADED_OBJECTS - 1)
_PERSISTENT = (0x81000000, 0x81FFFFFF)
_HMAC_SESSION = (0x02000000, 0x02000000 + MAX_ACTIVE_SESSIONS - 1)
_POLICY_SESSION = (0x03000000, 0x03000000 + MAX_ACTIVE_SESSIONS - 1)
_NV_INDEX = (0x01000000, 0x01FFFFFF)
_EXTERNAL_NV = (0x11000000, 0x11FFFFFF)
_PERMANENT_NV = (0x12000000, 0x12FFFFFF)
_PCR = (0, IMPLEMENTATION_PCR - 1)
_ACT = (int(RH.ACT_0), int(RH.ACT_F))
_VENDOR_AUTH = (int(RH.AUTH_00), int(RH.AUTH_FF))


def _handle(*ranges: tuple[int, int], extra: tuple[int, ...] = ()) -> UInt:
    return UInt(4, ranges=ranges, extra=extra)


# Firmware- and SVN-limited hierarchies are not implemented.
_HIERARCHIES = (RH.OWNER, RH.PLATFORM, RH.ENDORSEMENT)

TPMI_DH_OBJECT = Annotated[int, _handle(_TRANSIENT, _PERSISTENT)]
TPMI_DH_OBJECT_NULL = Annotated[int, _handle(_TRANSIENT, _PERSISTENT, extra=(RH.NULL,))]
TPMI_DH_PARENT = Annotated[int, _handle(_TRANSIENT, _PERSISTENT, extra=(*_HIERARCHIES, RH.NULL))]
TPMI_DH_PERSISTENT = Annotated[int, _handle(_PERSISTENT)]
_ENTITIES = (_TRANSIENT, _PERSISTENT, _NV_INDEX, _PCR, _VENDOR_AUTH)
TPMI_DH_ENTITY = Annotated[int, _handle(*_ENTITIES, extra=(*_HIERARCHIES, RH.LOCKOUT))]
TPMI_DH_ENTITY_NULL = Annotated[
    int, _handle(*_ENTITIES, extra=(*_HIERARCHIES, RH.LOCKOUT, RH.NULL))
]
TPMI_DH_PCR = Annotated[int, _handle(_PCR)]
TPMI_DH_PCR_NULL = Annotated[int, _handle(_PCR, extra=(RH.NULL,))]
TPMI_SH_AUTH_SESSION = Annotated[int, _handle(_HMAC_SESSION, _POLICY_SESSION)]
TPMI_SH_AUTH_SESSION_PW = Annotated[int, _handle(_HMAC_SESSION, _POLICY_SESSION, extra=(RH.RS_PW,))]
TPMI_SH_HMAC = Annotated[int, _handle(_HMAC_SESSION)]
TPMI_SH_POLICY = Annotated[int, _handle(_POLICY_SESSION)]
TPMI_DH_CONTEXT = Annotated[int, _handle(_HMAC_SESSION, _POLICY_SESSION, _TRANSIENT)]
TPMI_DH_SAVED = Annotated[
    int, _handle(_HMAC_SESSION, _POLICY_SESSION, extra=(0x80000000, 0x80000001, 0x80000002))
]

TPMI_RH_HIERARCHY = Annotated[int, UInt(4, extra=(*_HIERARCHIES, RH.NULL))]
TPMI_RH_ENABLES = Annotated[int, UInt(4, extra=(*_HIERARCHIES, RH.PLATFORM_NV))]
TPMI_RH_HIERARCHY_AUTH = Annotated[int, UInt(4, extra=(*_HIERARCHIES, RH.LOCKOUT))]
TPMI_RH_HIERARCHY_AUTH_NULL = Annotated[int, UInt(4, extra=(*_HIERARCHIES, RH.LOCKOUT, RH.NULL))]
TPMI_RH_HIERARCHY_POLICY = Annotated[int, _handle(_ACT, extra=(*_HIERARCHIES, RH.LOCKOUT))]
TPMI_RH_BASE_HIERARCHY = Annotated[int, UInt(4, extra=_HIERARCHIES)]
TPMI_RH_PLATFORM = Annotated[int, UInt(4, extra=(RH.PLATFORM,))]
TPMI_RH_OWNER = Annotated[int, UInt(4, extra=(RH.OWNER,))]
TPMI_RH_ENDORSEMENT = Annotated[int, UInt(4, extra=(RH.ENDORSEMENT,))]
TPMI_RH_PROVISION = Annotated[int, UInt(4, extra=(RH.OWNER, RH.PLATFORM))]
TPMI_RH_CLEAR = Annotated[int, UInt(4, extra=(RH.LOCKOUT, RH.PLATFORM))]
TPMI_RH_LOCKOUT = Annotated[int, UInt(4, extra=(RH.LOCKOUT,))]
TPMI_RH_ACT = Annotated[int, _handle(_ACT)]
TPMI_RH_NV_AUTH = Annotated[int, _handle(_NV_INDEX, extra=(RH.PLATFORM, RH.OWNER))]
TPMI_RH_NV_INDEX = Annotated[int, _handle(_NV_INDEX, _EXTERNAL_NV, _PERMANENT_NV)]
TPMI_RH_NV_DEFINED_INDEX = Annotated[int, _handle(_NV_INDEX, _EXTERNAL_NV)]
TPMI_RH_NV_LEGACY_INDEX = Annotated[int, _handle(_NV_INDEX)]
TPMI_RH_NV_EXP_INDEX = Annotated[int, _handle(_EXTERNAL_NV)]
TPMI_RH_NV_PERMANENT_INDEX = Annotated[int, _handle(_PERMANENT_NV)]


def _alg(listed: str, error: RC) -> UInt:
    return UInt(2, listed=listed, error=error)


def _alg_null(listed: str, error: RC) -> UInt:
    return UInt(2, listed=listed, extra=(ALG.NULL,), error=error)


TPMI_ALG_HASH = Annotated[int, _alg("hash_algs", RC.HASH)]
TPMI_ALG_HASH_NULL = Annotated[int, _alg_null("hash_algs", RC.HASH)]
TPMI_ALG_ASYM = Annotated[int, _alg("asym_algs", RC.ASYMMETRIC)]
TPMI_ALG_ASYM_NULL = Annotated[int, _alg_null("asym_algs", RC.ASYMMETRIC)]
TPMI_ALG_SYM = Annotated[int, _alg("symmetric_algs", RC.SYMMETRIC)]
TPMI_ALG_SYM_NULL = Annotated[int, _alg_null("symmetric_algs", RC.SYMMETRIC)]
TPMI_ALG_SYM_OBJECT = Annotated[int, _alg("block_ciphers", RC.SYMMETRIC)]
TPMI_ALG_SYM_OBJECT_NULL = Annotated[int, _alg_null("block_ciphers", RC.SYMMETRIC)]
TPMI_ALG_SYM_MODE = Annotated[int, _alg("symmetric_modes", RC.MODE)]
TPMI_ALG_SYM_MODE_NULL = Annotated[int, _alg_null("symmetric_modes", RC.MODE)]
TPMI_ALG_KDF = Annotated[int, _alg("kdfs", RC.KDF)]
TPMI_ALG_KDF_NULL = Annotated[int, _alg_null("kdfs", RC.KDF)]
TPMI_ALG_SIG_SCHEME = Annotated[int, _alg("sig_schemes", RC.SCHEME)]
TPMI_ALG_SIG_SCHEME_NULL = Annotated[int, _alg_null("sig_schemes", RC.SCHEME)]
TPMI_ECC_KEY_EXCHANGE = Annotated[int, _alg("ecc_key_exchanges", RC.SCHEME)]
TPMI_ECC_KEY_EXCHANGE_NULL = Annotated[int, _alg_null("ecc_key_exchanges", RC.SCHEME)]
TPMI_ALG_MAC_SCHEME = Annotated[int, _alg("mac_schemes", RC.SYMMETRIC)]
TPMI_ALG_MAC_SCHEME_NULL = Annotated[int, _alg_null("mac_schemes", RC.SYMMETRIC)]
TPMI_ALG_CIPHER_MODE = Annotated[int, _alg("cipher_modes", RC.MODE)]
TPMI_ALG_CIPHER_MODE_NULL = Annotated[int, _alg_null("cipher_modes", RC.MODE)]

# 11.1.19, 11.2.4.1, 11.2.4.4 and 11.2.5.4, and 12.2.2
TPMI_ALG_KEYEDHASH_SCHEME = Annotated[int, _alg("keyedhash_schemes", RC.VALUE)]
TPMI_ALG_KEYEDHASH_SCHEME_NULL = Annotated[int, _alg_null("keyedhash_schemes", RC.VALUE)]
TPMI_ALG_RSA_SCHEME = Annotated[int, _alg("rsa_schemes", RC.VALUE)]
TPMI_ALG_RSA_SCHEME_NULL = Annotated[int, _alg_null("rsa_schemes", RC.VALUE)]
TPMI_ALG_RSA_DECRYPT = Annotated[int, _alg("rsa_decrypt_schemes", RC.VALUE)]
TPMI_ALG_RSA_DECRYPT_NULL = Annotated[int, _alg_null("rsa_decrypt_schemes", RC.VALUE)]
TPMI_ALG_ECC_SCHEME = Annotated[int, _alg("ecc_schemes", RC.SCHEME)]
TPMI_ALG_ECC_SCHEME_NULL = Annotated[int, _alg_null("ecc_schemes", RC.SCHEME)]
TPMI_ALG_PUBLIC = Annotated[int, _alg("object_types", RC.TYPE)]
TPMI_ALG_PUBLIC_NULL = Annotated[int, _alg_null("object_types", RC.TYPE)]

# 11.1.2, 11.2.4.7 and 11.2.5.5
TPMI_TDES_KEY_BITS = Annotated[int, UInt(2, listed="symmetric_key_bits", under=ALG.TDES)]
TPMI_AES_KEY_BITS = Annotated[int, UInt(2, listed="symmetric_key_bits", under=ALG.AES)]
TPMI_SM4_KEY_BITS = Annotated[int, UInt(2, listed="symmetric_key_bits", under=ALG.SM4)]
TPMI_CAMELLIA_KEY_BITS = Annotated[int, UInt(2, listed="symmetric_key_bits", under=ALG.CAMELLIA)]
TPMI_RSA_KEY_BITS = Annotated[int, UInt(2, listed="rsa_key_bits")]
TPMI_ECC_CURVE = Annotated[int, UInt(2, listed="ecc_curves", error=RC.CURVE)]

# 11.2.6.1 and 11.2.7.1
TPMI_MLKEM_PARMS = Annotated[int, UInt(2, listed="mlkem_parms", error=RC.PARMS)]
TPMI_MLDSA_PARMS = Annotated[int, UInt(2, listed="mldsa_parms", error=RC.PARMS)]

TPMI_ST_COMMAND_TAG = Annotated[int, UInt(2, extra=(ST.NO_SESSIONS, ST.SESSIONS), error=RC.BAD_TAG)]
TPMI_ST_ATTEST = Annotated[
    int,
    UInt(
        2,
        allowed={
            ST.ATTEST_CERTIFY,
            ST.ATTEST_QUOTE,
            ST.ATTEST_SESSION_AUDIT,
            ST.ATTEST_COMMAND_AUDIT,
            ST.ATTEST_TIME,
            ST.ATTEST_CREATION,
            ST.ATTEST_NV,
            ST.ATTEST_NV_DIGEST,
        },
        error=RC.SELECTOR,
    ),
]
