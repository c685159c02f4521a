"""Properties, their lists and capability data (Part 2, 10.7 to 10.9)."""

from typing import Annotated

from .attributes import ACT_ATTRIBUTES, ALGORITHM_ATTRIBUTES, COMMAND_ATTRIBUTES
from .base import PCR_SELECT, TPM2B_NAME, TPML_CC, TPML_PCR_SELECTION, TPMS_PCR_SELECTION, TPMT_HA
from .constants import CAP
from .interface import (
    TPM_ALG_ID,
    TPM_CAP,
    TPM_ECC_CURVE,
    TPM_HANDLE,
    TPM_PT,
    TPM_PT_PCR,
    UINT32,
)
from .limits import (
    MAX_ACT_DATA,
    MAX_CAP_ALGS,
    MAX_CAP_BUFFER,
    MAX_CAP_CC,
    MAX_CAP_HANDLES,
    MAX_ECC_CURVES,
    MAX_PCR_PROPERTIES,
    MAX_SPDM_SESSION_INFO,
    MAX_TAGGED_POLICIES,
    MAX_TPM_PROPERTIES,
    MAX_VENDOR_PROPERTY,
    MAX_VENDOR_PROPERTY_SIZE,
)
from .structure import ListOf, Sized, Structure, Union


class TPMS_ALG_PROPERTY(Structure):
    """What an algorithm is for (10.7.1)."""

    alg: TPM_ALG_ID
    alg_properties: ALGORITHM_ATTRIBUTES


class TPMS_TAGGED_PROPERTY(Structure):
    """The value of a TPM property (10.7.2)."""

    property: TPM_PT
    value: UINT32


class TPMS_TAGGED_PCR_SELECT(Structure):
    """The PCRs that have a property (10.7.3)."""

    tag: TPM_PT_PCR
    pcr_select: PCR_SELECT


class TPMS_TAGGED_POLICY(Structure):
    """The policy of a permanent handle (10.7.4)."""

    handle: TPM_HANDLE
    policy_hash: TPMT_HA


class TPMS_ACT_DATA(Structure):
    """The state of an authenticated countdown timer (10.7.5); `timeout` in seconds."""

    handle: TPM_HANDLE
    timeout: UINT32
    attributes: ACT_ATTRIBUTES


class TPMS_SPDM_SESSION_INFO(Structure):
    """The keys of the current secure channel (10.7.6)."""

    req_key_name: TPM2B_NAME
    tpm_key_name: TPM2B_NAME


TPM2B_VENDOR_PROPERTY = Annotated[bytes, Sized(MAX_VENDOR_PROPERTY_SIZE)]

TPML_CCA = Annotated[list[int], ListOf(COMMAND_ATTRIBUTES, MAX_CAP_CC)]
TPML_HANDLE = Annotated[list[int], ListOf(TPM_HANDLE, MAX_CAP_HANDLES)]
TPML_ALG_PROPERTY = Annotated[list[TPMS_ALG_PROPERTY], ListOf(TPMS_ALG_PROPERTY, MAX_CAP_ALGS)]
TPML_TAGGED_TPM_PROPERTY = Annotated[
    list[TPMS_TAGGED_PROPERTY], ListOf(TPMS_TAGGED_PROPERTY, MAX_TPM_PROPERTIES)
]
TPML_TAGGED_PCR_PROPERTY = Annotated[
    list[TPMS_TAGGED_PCR_SELECT], ListOf(TPMS_TAGGED_PCR_SELECT, MAX_PCR_PROPERTIES)
]
TPML_ECC_CURVE = Annotated[list[int], ListOf(TPM_ECC_CURVE, MAX_ECC_CURVES)]
TPML_TAGGED_POLICY = Annotated[
    list[TPMS_TAGGED_POLICY], ListOf(TPMS_TAGGED_POLICY, MAX_TAGGED_POLICIES)
]
TPML_ACT_DATA = Annotated[list[TPMS_ACT_DATA], ListOf(TPMS_ACT_DATA, MAX_ACT_DATA)]
TPML_SPDM_SESSION_INFO = Annotated[
    list[TPMS_SPDM_SESSION_INFO], ListOf(TPMS_SPDM_SESSION_INFO, MAX_SPDM_SESSION_INFO)
]
TPML_VENDOR_PROPERTY = Annotated[list[bytes], ListOf(TPM2B_VENDOR_PROPERTY, MAX_VENDOR_PROPERTY)]


class TPMS_CAPABILITY_DATA(Structure):
    """The answer to GetCapability (10.9.2)."""

    capability: TPM_CAP
    data: Annotated[
        list[TPMS_ALG_PROPERTY]
        | list[int]
        | list[TPMS_PCR_SELECTION]
        | list[TPMS_TAGGED_PROPERTY]
        | list[TPMS_TAGGED_PCR_SELECT]
        | list[TPMS_TAGGED_POLICY]
        | list[TPMS_ACT_DATA]
        | list[TPMS_SPDM_SESSION_INFO]
        | list[bytes],
        Union(
            "capability",
            {
                CAP.ALGS: TPML_ALG_PROPERTY,
                CAP.HANDLES: TPML_HANDLE,
                CAP.COMMANDS: TPML_CCA,
                CAP.PP_COMMANDS: TPML_CC,
                CAP.AUDIT_COMMANDS: TPML_CC,
                CAP.PCRS: TPML_PCR_SELECTION,
                CAP.TPM_PROPERTIES: TPML_TAGGED_TPM_PROPERTY,
                CAP.PCR_PROPERTIES: TPML_TAGGED_PCR_PROPERTY,
                CAP.ECC_CURVES: TPML_ECC_CURVE,
                CAP.AUTH_POLICIES: TPML_TAGGED_POLICY,
                CAP.ACT: TPML_ACT_DATA,
                CAP.SPDM_SESSION_INFO: TPML_SPDM_SESSION_INFO,
                CAP.VENDOR_PROPERTY: TPML_VENDOR_PROPERTY,
            },
        ),
    ]


TPM2B_SET_CAPABILITY_DATA = Annotated[bytes, Sized(MAX_CAP_BUFFER)]
"""Octets: no capability is settable yet, so none of its structures is defined (10.9.3, 10.9.4)."""
