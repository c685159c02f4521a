"""Creation data (Part 2, clause 15)."""

from typing import Annotated

from .attributes import LOCALITY_ATTRIBUTES
from .base import TPM2B_DATA, TPM2B_DIGEST, TPM2B_NAME, TPML_PCR_SELECTION
from .interface import TPM_ALG_ID
from .structure import SizedStructure, Structure


class TPMS_CREATION_DATA(Structure):
    """The environment an object was created in (15.1)."""

    pcr_select: TPML_PCR_SELECTION
    pcr_digest: TPM2B_DIGEST
    locality: LOCALITY_ATTRIBUTES
    parent_name_alg: TPM_ALG_ID
    parent_name: TPM2B_NAME
    parent_qualified_name: TPM2B_NAME
    outside_info: TPM2B_DATA


TPM2B_CREATION_DATA = Annotated[TPMS_CREATION_DATA, SizedStructure(TPMS_CREATION_DATA)]
