"""Context data (Part 2, clause 14)."""

from typing import Annotated

from .interface import TPMI_DH_SAVED, TPMI_RH_HIERARCHY, UINT64
from .structure import Sized, Structure

TPM2B_CONTEXT_DATA = Annotated[bytes, Sized("max_context_data_size")]


class TPMS_CONTEXT(Structure):
    """A saved object, sequence or session (14.5)."""

    sequence: UINT64
    saved_handle: TPMI_DH_SAVED
    hierarchy: TPMI_RH_HIERARCHY
    context_blob: TPM2B_CONTEXT_DATA
