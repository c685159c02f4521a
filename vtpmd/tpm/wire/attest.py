"""Clock and attestation structures (Part 2, 10.10 and 10.11)."""

from typing import Annotated

from .base import (
    TPM2B_DATA,
    TPM2B_DIGEST,
    TPM2B_MAX_NV_BUFFER,
    TPM2B_NAME,
    TPML_PCR_SELECTION,
)
from .constants import GENERATED_VALUE, ST
from .interface import TPM_ALG_ID, TPMI_ST_ATTEST, TPMI_YES_NO, UINT16, UINT32, UINT64
from .limits import MAX_ATTEST_SIZE
from .structure import Sized, Structure, UInt, Union


class TPMS_CLOCK_INFO(Structure):
    """Clock, in milliseconds, and what happened to it (10.10.1)."""

    clock: UINT64
    reset_count: UINT32
    restart_count: UINT32
    safe: TPMI_YES_NO


class TPMS_TIME_INFO(Structure):
    """Time since power on, in milliseconds, and Clock (10.10.6)."""

    time: UINT64
    clock_info: TPMS_CLOCK_INFO


class TPMS_TIME_ATTEST_INFO(Structure):
    """Attested by GetTime (10.11.2)."""

    time: TPMS_TIME_INFO
    firmware_version: UINT64


class TPMS_CERTIFY_INFO(Structure):
    """Attested by Certify (10.11.3)."""

    name: TPM2B_NAME
    qualified_name: TPM2B_NAME


class TPMS_QUOTE_INFO(Structure):
    """Attested by Quote (10.11.4)."""

    pcr_select: TPML_PCR_SELECTION
    pcr_digest: TPM2B_DIGEST


class TPMS_COMMAND_AUDIT_INFO(Structure):
    """Attested by GetCommandAuditDigest (10.11.5)."""

    audit_counter: UINT64
    digest_alg: TPM_ALG_ID
    audit_digest: TPM2B_DIGEST
    command_digest: TPM2B_DIGEST


class TPMS_SESSION_AUDIT_INFO(Structure):
    """Attested by GetSessionAuditDigest (10.11.6)."""

    exclusive_session: TPMI_YES_NO
    session_digest: TPM2B_DIGEST


class TPMS_CREATION_INFO(Structure):
    """Attested by CertifyCreation (10.11.7)."""

    object_name: TPM2B_NAME
    creation_hash: TPM2B_DIGEST


class TPMS_NV_CERTIFY_INFO(Structure):
    """Attested by NV_Certify (10.11.8)."""

    index_name: TPM2B_NAME
    offset: UINT16
    nv_contents: TPM2B_MAX_NV_BUFFER


class TPMS_NV_DIGEST_CERTIFY_INFO(Structure):
    """Attested by NV_Certify when asked for a digest of the contents (10.11.9)."""

    index_name: TPM2B_NAME
    nv_digest: TPM2B_DIGEST


class TPMS_ATTEST(Structure):
    """What every attestation command signs (10.11.12)."""

    magic: Annotated[int, UInt(4, extra=(GENERATED_VALUE,))]
    type: TPMI_ST_ATTEST
    qualified_signer: TPM2B_NAME
    extra_data: TPM2B_DATA
    clock_info: TPMS_CLOCK_INFO
    firmware_version: UINT64
    attested: Annotated[
        TPMS_CERTIFY_INFO
        | TPMS_CREATION_INFO
        | TPMS_QUOTE_INFO
        | TPMS_COMMAND_AUDIT_INFO
        | TPMS_SESSION_AUDIT_INFO
        | TPMS_TIME_ATTEST_INFO
        | TPMS_NV_CERTIFY_INFO
        | TPMS_NV_DIGEST_CERTIFY_INFO,
        Union(
            "type",
            {
                ST.ATTEST_CERTIFY: TPMS_CERTIFY_INFO,
                ST.ATTEST_CREATION: TPMS_CREATION_INFO,
                ST.ATTEST_QUOTE: TPMS_QUOTE_INFO,
                ST.ATTEST_COMMAND_AUDIT: TPMS_COMMAND_AUDIT_INFO,
                ST.ATTEST_SESSION_AUDIT: TPMS_SESSION_AUDIT_INFO,
                ST.ATTEST_TIME: TPMS_TIME_ATTEST_INFO,
                ST.ATTEST_NV: TPMS_NV_CERTIFY_INFO,
                ST.ATTEST_NV_DIGEST: TPMS_NV_DIGEST_CERTIFY_INFO,
            },
        ),
    ]


TPM2B_ATTEST = Annotated[bytes, Sized(MAX_ATTEST_SIZE)]
"""The octets that are signed: a marshalled TPMS_ATTEST (10.11.13)."""
