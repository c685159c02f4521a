"""NV storage structures (Part 2, clause 13)."""

from typing import Annotated

from ..rc import RC
from .attributes import NV_ATTRIBUTES, NV_EXP_ATTRIBUTES
from .base import TPM2B_DIGEST
from .constants import HT
from .interface import (
    TPM_HT,
    TPMI_ALG_HASH,
    TPMI_RH_NV_EXP_INDEX,
    TPMI_RH_NV_LEGACY_INDEX,
    TPMI_RH_NV_PERMANENT_INDEX,
    UINT32,
)
from .limits import MAX_NV_INDEX_SIZE
from .structure import Nested, SizedStructure, Structure, UInt, Union

_DATA_SIZE = Annotated[int, UInt(2, ranges=((0, MAX_NV_INDEX_SIZE),), error=RC.SIZE)]


class TPMS_NV_PIN_COUNTER_PARAMETERS(Structure):
    """The contents of a PIN index (13.3)."""

    pin_count: UINT32
    pin_limit: UINT32


class TPMS_NV_PUBLIC(Structure):
    """The public area of an NV Index with 32 bits of attributes (13.6); `data_size` in octets."""

    nv_index: TPMI_RH_NV_LEGACY_INDEX
    name_alg: TPMI_ALG_HASH
    attributes: NV_ATTRIBUTES
    auth_policy: TPM2B_DIGEST
    data_size: _DATA_SIZE


class TPMS_NV_PUBLIC_EXP_ATTR(Structure):
    """The public area of an NV Index with 64 bits of attributes (13.8); `data_size` in octets."""

    nv_index: TPMI_RH_NV_EXP_INDEX
    name_alg: TPMI_ALG_HASH
    attributes: NV_EXP_ATTRIBUTES
    auth_policy: TPM2B_DIGEST
    data_size: _DATA_SIZE


class TPMT_NV_PUBLIC_2(Structure):
    """The public area of any NV Index (13.10)."""

    handle_type: TPM_HT
    public_area: Annotated[
        TPMS_NV_PUBLIC | TPMS_NV_PUBLIC_EXP_ATTR,
        Union(
            "handle_type",
            {
                HT.NV_INDEX: TPMS_NV_PUBLIC,
                HT.EXTERNAL_NV: TPMS_NV_PUBLIC_EXP_ATTR,
                # The table has TPMS_NV_PUBLIC as it is, which no permanent index would pass.
                HT.PERMANENT_NV: Nested(TPMS_NV_PUBLIC, nv_index=TPMI_RH_NV_PERMANENT_INDEX),
            },
        ),
    ]


TPM2B_NV_PUBLIC = Annotated[TPMS_NV_PUBLIC, SizedStructure(TPMS_NV_PUBLIC)]
TPM2B_NV_PUBLIC_2 = Annotated[TPMT_NV_PUBLIC_2, SizedStructure(TPMT_NV_PUBLIC_2)]
