"""Authorization roles of handles, from the command tables of Part 3 (version 185).

Written down from the specification, so that the declarations in the code can be compared with it.
A `@` before a handle's name, Auth Index and Auth Role are those of Part 3, 4.2.9 and 4.2.10.
"""

from dataclasses import dataclass

from vtpmd.tpm.wire.constants import CC


@dataclass(frozen=True)
class Handle:
    """One row of a command's handle area; `role` is NONE for "Auth Index: None"."""

    name: str
    role: str


_TABLES: dict[int, str] = {
    # 9 and 10: start, stop and tests
    CC.STARTUP: "",
    CC.SHUTDOWN: "",
    CC.SELF_TEST: "",
    CC.INCREMENTAL_SELF_TEST: "",
    CC.GET_TEST_RESULT: "",
    # 11: sessions
    CC.START_AUTH_SESSION: "tpmKey bind",
    CC.POLICY_RESTART: "sessionHandle",
    # 12: objects
    CC.CREATE: "@parentHandle:USER",
    CC.LOAD: "@parentHandle:USER",
    CC.LOAD_EXTERNAL: "",
    CC.READ_PUBLIC: "objectHandle",
    CC.ACTIVATE_CREDENTIAL: "@activateHandle:ADMIN @keyHandle:USER",
    CC.MAKE_CREDENTIAL: "handle",
    CC.UNSEAL: "@itemHandle:USER",
    CC.OBJECT_CHANGE_AUTH: "@objectHandle:ADMIN parentHandle",
    CC.CREATE_LOADED: "@parentHandle:USER",
    # 13: duplication
    CC.DUPLICATE: "@objectHandle:DUP newParentHandle",
    CC.REWRAP: "@oldParent:USER newParent",
    CC.IMPORT: "@parentHandle:USER",
    # 14: asymmetric primitives
    CC.RSA_ENCRYPT: "keyHandle",
    CC.RSA_DECRYPT: "@keyHandle:USER",
    CC.ECDH_KEY_GEN: "keyHandle",
    CC.ECDH_ZGEN: "@keyHandle:USER",
    CC.ECC_PARAMETERS: "",
    CC.ZGEN_2PHASE: "@keyA:USER",
    CC.ECC_ENCRYPT: "keyHandle",
    CC.ECC_DECRYPT: "@keyHandle:USER",
    CC.ENCAPSULATE: "keyHandle",
    CC.DECAPSULATE: "@keyHandle:USER",
    # 15: symmetric primitives; TPM2_MAC has the code and the handle of TPM2_HMAC
    CC.ENCRYPT_DECRYPT: "@keyHandle:USER",
    CC.ENCRYPT_DECRYPT2: "@keyHandle:USER",
    CC.HASH: "",
    CC.HMAC: "@handle:USER",
    # 16: random numbers
    CC.GET_RANDOM: "",
    CC.STIR_RANDOM: "",
    # 17: sequences; TPM2_MAC_Start has the code and the handle of TPM2_HMAC_Start
    CC.HMAC_START: "@handle:USER",
    CC.HASH_SEQUENCE_START: "",
    CC.SIGN_SEQUENCE_START: "keyHandle",
    CC.VERIFY_SEQUENCE_START: "keyHandle",
    CC.SEQUENCE_UPDATE: "@sequenceHandle:USER",
    CC.SEQUENCE_COMPLETE: "@sequenceHandle:USER",
    CC.EVENT_SEQUENCE_COMPLETE: "@pcrHandle:USER @sequenceHandle:USER",
    # 18: attestation
    CC.CERTIFY: "@objectHandle:ADMIN @signHandle:USER",
    CC.CERTIFY_CREATION: "@signHandle:USER objectHandle",
    CC.QUOTE: "@signHandle:USER",
    CC.GET_SESSION_AUDIT_DIGEST: "@privacyAdminHandle:USER @signHandle:USER sessionHandle",
    CC.GET_COMMAND_AUDIT_DIGEST: "@privacyHandle:USER @signHandle:USER",
    CC.GET_TIME: "@privacyAdminHandle:USER @signHandle:USER",
    CC.CERTIFY_X509: "@objectHandle:ADMIN @signHandle:USER",
    # 19: ephemeral keys
    CC.COMMIT: "@signHandle:USER",
    CC.EC_EPHEMERAL: "",
    # 20: signatures
    CC.VERIFY_SIGNATURE: "keyHandle",
    CC.VERIFY_SEQUENCE_COMPLETE: "@sequenceHandle:USER keyHandle",
    CC.VERIFY_DIGEST_SIGNATURE: "keyHandle",
    CC.SIGN: "@keyHandle:USER",
    CC.SIGN_SEQUENCE_COMPLETE: "@sequenceHandle:USER @keyHandle:USER",
    CC.SIGN_DIGEST: "@keyHandle:USER",
    # 21: command audit
    CC.SET_COMMAND_CODE_AUDIT_STATUS: "@auth:USER",
    # 22: PCRs
    CC.PCR_EXTEND: "@pcrHandle:USER",
    CC.PCR_EVENT: "@pcrHandle:USER",
    CC.PCR_READ: "",
    CC.PCR_ALLOCATE: "@authHandle:USER",
    CC.PCR_SET_AUTH_POLICY: "@authHandle:USER",
    CC.PCR_SET_AUTH_VALUE: "@pcrHandle:USER",
    CC.PCR_RESET: "@pcrHandle:USER",
    # 23: policies
    CC.POLICY_SIGNED: "authObject policySession",
    CC.POLICY_SECRET: "@authHandle:USER policySession",
    CC.POLICY_TICKET: "policySession",
    CC.POLICY_OR: "policySession",
    CC.POLICY_PCR: "policySession",
    CC.POLICY_LOCALITY: "policySession",
    CC.POLICY_NV: "@authHandle:USER nvIndex policySession",
    CC.POLICY_COUNTER_TIMER: "policySession",
    CC.POLICY_COMMAND_CODE: "policySession",
    CC.POLICY_PHYSICAL_PRESENCE: "policySession",
    CC.POLICY_CP_HASH: "policySession",
    CC.POLICY_NAME_HASH: "policySession",
    CC.POLICY_DUPLICATION_SELECT: "policySession",
    CC.POLICY_AUTHORIZE: "policySession",
    CC.POLICY_AUTH_VALUE: "policySession",
    CC.POLICY_PASSWORD: "policySession",
    CC.POLICY_GET_DIGEST: "policySession",
    CC.POLICY_NV_WRITTEN: "policySession",
    CC.POLICY_TEMPLATE: "policySession",
    CC.POLICY_AUTHORIZE_NV: "@authHandle:USER nvIndex policySession",
    CC.POLICY_CAPABILITY: "policySession",
    CC.POLICY_PARAMETERS: "policySession",
    CC.POLICY_TRANSPORT_SPDM: "policySession",
    # 24: hierarchies
    CC.CREATE_PRIMARY: "@primaryHandle:USER",
    CC.HIERARCHY_CONTROL: "@authHandle:USER",
    CC.SET_PRIMARY_POLICY: "@authHandle:USER",
    CC.CHANGE_PPS: "@authHandle:USER",
    CC.CHANGE_EPS: "@authHandle:USER",
    CC.CLEAR: "@authHandle:USER",
    CC.CLEAR_CONTROL: "@auth:USER",
    CC.HIERARCHY_CHANGE_AUTH: "@authHandle:USER",
    CC.READ_ONLY_CONTROL: "@authHandle:USER",
    # 25: dictionary attacks
    CC.DICTIONARY_ATTACK_LOCK_RESET: "@lockHandle:USER",
    CC.DICTIONARY_ATTACK_PARAMETERS: "@lockHandle:USER",
    # 26: management; TPM2_PP_Commands needs physical presence as well
    CC.PP_COMMANDS: "@auth:USER",
    CC.SET_ALGORITHM_SET: "@authHandle:USER",
    # 27: field upgrade
    CC.FIELD_UPGRADE_START: "@authorization:ADMIN keyHandle",
    CC.FIELD_UPGRADE_DATA: "",
    CC.FIRMWARE_READ: "",
    # 28: contexts
    CC.CONTEXT_SAVE: "saveHandle",
    CC.CONTEXT_LOAD: "",
    CC.FLUSH_CONTEXT: "",
    CC.EVICT_CONTROL: "@auth:USER objectHandle",
    # 29: clocks
    CC.READ_CLOCK: "",
    CC.CLOCK_SET: "@auth:USER",
    CC.CLOCK_RATE_ADJUST: "@auth:USER",
    # 30: capabilities
    CC.GET_CAPABILITY: "",
    CC.TEST_PARMS: "",
    CC.SET_CAPABILITY: "@authHandle:USER",
    # 31: NV
    CC.NV_DEFINE_SPACE: "@authHandle:USER",
    CC.NV_UNDEFINE_SPACE: "@authHandle:USER nvIndex",
    CC.NV_UNDEFINE_SPACE_SPECIAL: "@nvIndex:ADMIN @platform:USER",
    CC.NV_READ_PUBLIC: "nvIndex",
    CC.NV_WRITE: "@authHandle:USER nvIndex",
    CC.NV_INCREMENT: "@authHandle:USER nvIndex",
    CC.NV_EXTEND: "@authHandle:USER nvIndex",
    CC.NV_SET_BITS: "@authHandle:USER nvIndex",
    CC.NV_WRITE_LOCK: "@authHandle:USER nvIndex",
    CC.NV_GLOBAL_WRITE_LOCK: "@authHandle:USER",
    CC.NV_READ: "@authHandle:USER nvIndex",
    CC.NV_READ_LOCK: "@authHandle:USER nvIndex",
    CC.NV_CHANGE_AUTH: "@nvIndex:ADMIN",
    CC.NV_CERTIFY: "@signHandle:USER @authHandle:USER nvIndex",
    CC.NV_DEFINE_SPACE2: "@authHandle:USER",
    CC.NV_READ_PUBLIC2: "nvIndex",
    # 32: attached components
    CC.AC_GET_CAPABILITY: "ac",
    CC.AC_SEND: "@sendObject:DUP @authHandle:USER ac",
    CC.POLICY_AC_SEND_SELECT: "policySession",
    # 33 and 34: countdown timers, and the vendor's command
    CC.ACT_SET_TIMEOUT: "@actHandle:USER",
    CC.VENDOR_TCG_TEST: "",
}


def _handle(row: str) -> Handle:
    name, _, role = row.partition(":")
    assert name.startswith("@") == bool(role), row
    return Handle(name.removeprefix("@"), role or "NONE")


HANDLES: dict[int, tuple[Handle, ...]] = {
    code: tuple(_handle(row) for row in table.split()) for code, table in _TABLES.items()
}
"""The handle area of every command of Part 3, by command code."""
