"""Attribute structures (Part 2, clause 8; 13.4 and 13.5): masks, and the hints of fields with them.

A field of attributes is a plain int. `TPMA_OBJECT.FIXED_TPM` is a mask for it, and
`OBJECT_ATTRIBUTES` its hint, which refuses reserved bits with RC.RESERVED_BITS.
"""

from typing import Annotated, Final

from .kinds import UInt


class TPMA_ALGORITHM:
    """What an algorithm is used for (8.2)."""

    ASYMMETRIC: Final = 1 << 0
    SYMMETRIC: Final = 1 << 1
    HASH: Final = 1 << 2
    OBJECT: Final = 1 << 3
    SIGNING: Final = 1 << 8
    ENCRYPTING: Final = 1 << 9
    METHOD: Final = 1 << 10
    RESERVED: Final = 0xFFFFF8F0


class TPMA_OBJECT:
    """How an object is used, authorized and related to others (8.3)."""

    FIXED_TPM: Final = 1 << 1
    ST_CLEAR: Final = 1 << 2
    FIXED_PARENT: Final = 1 << 4
    SENSITIVE_DATA_ORIGIN: Final = 1 << 5
    USER_WITH_AUTH: Final = 1 << 6
    ADMIN_WITH_POLICY: Final = 1 << 7
    FIRMWARE_LIMITED: Final = 1 << 8
    SVN_LIMITED: Final = 1 << 9
    NO_DA: Final = 1 << 10
    ENCRYPTED_DUPLICATION: Final = 1 << 11
    RESTRICTED: Final = 1 << 16
    DECRYPT: Final = 1 << 17
    SIGN_ENCRYPT: Final = 1 << 18
    X509_SIGN: Final = 1 << 19
    RESERVED: Final = 0xFFF0F009


class TPMA_SESSION:
    """What a session does for one command (8.4)."""

    CONTINUE_SESSION: Final = 1 << 0
    AUDIT_EXCLUSIVE: Final = 1 << 1
    AUDIT_RESET: Final = 1 << 2
    DECRYPT: Final = 1 << 5
    ENCRYPT: Final = 1 << 6
    AUDIT: Final = 1 << 7
    RESERVED: Final = 0x18


class TPMA_LOCALITY:
    """Localities 0 to 4 as bits; with any bit of `EXTENDED`, one locality as a number (8.5)."""

    LOC_ZERO: Final = 1 << 0
    LOC_ONE: Final = 1 << 1
    LOC_TWO: Final = 1 << 2
    LOC_THREE: Final = 1 << 3
    LOC_FOUR: Final = 1 << 4
    EXTENDED: Final = 0xE0


class TPMA_PERMANENT:
    """Attributes that survive Startup (8.6)."""

    OWNER_AUTH_SET: Final = 1 << 0
    ENDORSEMENT_AUTH_SET: Final = 1 << 1
    LOCKOUT_AUTH_SET: Final = 1 << 2
    DISABLE_CLEAR: Final = 1 << 8
    IN_LOCKOUT: Final = 1 << 9
    TPM_GENERATED_EPS: Final = 1 << 10
    RESERVED: Final = 0xFFFFF8F8


class TPMA_STARTUP_CLEAR:
    """Attributes that Startup(CLEAR) resets (8.7)."""

    PH_ENABLE: Final = 1 << 0
    SH_ENABLE: Final = 1 << 1
    EH_ENABLE: Final = 1 << 2
    PH_ENABLE_NV: Final = 1 << 3
    READ_ONLY: Final = 1 << 4
    ORDERLY: Final = 1 << 31
    RESERVED: Final = 0x7FFFFFE0


class TPMA_MEMORY:
    """How memory for objects and sessions is shared (8.8)."""

    SHARED_RAM: Final = 1 << 0
    SHARED_NV: Final = 1 << 1
    OBJECT_COPIED_TO_RAM: Final = 1 << 2
    RESERVED: Final = 0xFFFFFFF8


class TPMA_CC:
    """What a resource manager needs to know about a command (8.9)."""

    COMMAND_INDEX: Final = 0xFFFF
    NV: Final = 1 << 22
    EXTENSIVE: Final = 1 << 23
    FLUSHED: Final = 1 << 24
    C_HANDLES: Final = 7 << 25
    C_HANDLES_SHIFT: Final = 25
    R_HANDLE: Final = 1 << 28
    V: Final = 1 << 29
    RESERVED: Final = 0xC03F0000


class TPMA_MODES:
    """Modes the TPM is designed for (8.10)."""

    FIPS_140_2: Final = 1 << 0
    FIPS_140_3: Final = 1 << 1
    FIPS_140_3_INDICATOR: Final = 3 << 2
    RESERVED: Final = 0xFFFFFFF0


class TPMA_X509_KEY_USAGE:
    """Key usage of a certificate made with CertifyX509 (8.11)."""

    DECIPHER_ONLY: Final = 1 << 23
    ENCIPHER_ONLY: Final = 1 << 24
    CRL_SIGN: Final = 1 << 25
    KEY_CERT_SIGN: Final = 1 << 26
    KEY_AGREEMENT: Final = 1 << 27
    DATA_ENCIPHERMENT: Final = 1 << 28
    KEY_ENCIPHERMENT: Final = 1 << 29
    NON_REPUDIATION: Final = 1 << 30
    DIGITAL_SIGNATURE: Final = 1 << 31
    RESERVED: Final = 0x007FFFFF


class TPMA_ACT:
    """State of an authenticated countdown timer (8.12)."""

    SIGNALED: Final = 1 << 0
    PRESERVE_SIGNALED: Final = 1 << 1
    RESERVED: Final = 0xFFFFFFFC


class TPMA_ML_PARAMETER_SET:
    """Which parameter sets of ML-KEM and ML-DSA there are, and external mu (8.13)."""

    MLKEM_512: Final = 1 << 0
    MLKEM_768: Final = 1 << 1
    MLKEM_1024: Final = 1 << 2
    MLDSA_44: Final = 1 << 3
    MLDSA_65: Final = 1 << 4
    MLDSA_87: Final = 1 << 5
    EXT_MU: Final = 1 << 6
    RESERVED: Final = 0xFFFFFF80


class TPMA_NV:
    """What may be done with an NV Index, and its state (13.4). `NT` holds a constants.NT."""

    PPWRITE: Final = 1 << 0
    OWNERWRITE: Final = 1 << 1
    AUTHWRITE: Final = 1 << 2
    POLICYWRITE: Final = 1 << 3
    NT: Final = 0xF0
    NT_SHIFT: Final = 4
    POLICY_DELETE: Final = 1 << 10
    WRITELOCKED: Final = 1 << 11
    WRITEALL: Final = 1 << 12
    WRITEDEFINE: Final = 1 << 13
    WRITE_STCLEAR: Final = 1 << 14
    GLOBALLOCK: Final = 1 << 15
    PPREAD: Final = 1 << 16
    OWNERREAD: Final = 1 << 17
    AUTHREAD: Final = 1 << 18
    POLICYREAD: Final = 1 << 19
    NO_DA: Final = 1 << 25
    ORDERLY: Final = 1 << 26
    CLEAR_STCLEAR: Final = 1 << 27
    READLOCKED: Final = 1 << 28
    WRITTEN: Final = 1 << 29
    PLATFORMCREATE: Final = 1 << 30
    READ_STCLEAR: Final = 1 << 31
    RESERVED: Final = 0x01F00300


class TPMA_NV_EXP:
    """The upper half of expanded attributes of an NV Index; the lower is TPMA_NV (13.5)."""

    EXTERNAL_NV_ENCRYPTION: Final = 1 << 32
    EXTERNAL_NV_INTEGRITY: Final = 1 << 33
    EXTERNAL_NV_ANTIROLLBACK: Final = 1 << 34
    RESERVED: Final = 0xFFFFFFF8_00000000 | TPMA_NV.RESERVED


ALGORITHM_ATTRIBUTES = Annotated[int, UInt(4, reserved=TPMA_ALGORITHM.RESERVED)]
OBJECT_ATTRIBUTES = Annotated[int, UInt(4, reserved=TPMA_OBJECT.RESERVED)]
SESSION_ATTRIBUTES = Annotated[int, UInt(1, reserved=TPMA_SESSION.RESERVED)]
LOCALITY_ATTRIBUTES = Annotated[int, UInt(1)]
COMMAND_ATTRIBUTES = Annotated[int, UInt(4, reserved=TPMA_CC.RESERVED)]
ACT_ATTRIBUTES = Annotated[int, UInt(4, reserved=TPMA_ACT.RESERVED)]
NV_ATTRIBUTES = Annotated[int, UInt(4, reserved=TPMA_NV.RESERVED)]
NV_EXP_ATTRIBUTES = Annotated[int, UInt(8, reserved=TPMA_NV_EXP.RESERVED)]
