"""Context data (Part 2, clause 14)."""

from typing import Annotated

from .base import TPM2B_DIGEST
from .interface import TPMI_DH_SAVED, TPMI_RH_HIERARCHY, UINT64
from .limits import MAX_CONTEXT_DATA_SIZE, MAX_CONTEXT_SIZE
from .structure import Sized, Structure

TPM2B_CONTEXT_SENSITIVE = Annotated[bytes, Sized(MAX_CONTEXT_SIZE, secret=True)]
TPM2B_CONTEXT_DATA = Annotated[bytes, Sized(MAX_CONTEXT_DATA_SIZE)]


class TPMS_CONTEXT_DATA(Structure):
    """The contents of TPM2B_CONTEXT_DATA (14.3)."""

    integrity: TPM2B_DIGEST
    encrypted: TPM2B_CONTEXT_SENSITIVE


class TPMS_CONTEXT(Structure):
    """A saved object, sequence or session (14.5)."""

    sequence: UINT64
    saved_handle: TPMI_DH_SAVED
    hierarchy: TPMI_RH_HIERARCHY
    context_blob: TPM2B_CONTEXT_DATA
