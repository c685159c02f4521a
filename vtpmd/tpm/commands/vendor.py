"""Part 3, chapter 34: Vendor Specific."""

from ..command import command
from ..state import Tpm
from ..wire.base import TPM2B_DATA
from ..wire.constants import CC
from ..wire.structure import Structure


class VendorTcgTestResponse(Structure):
    output_data: TPM2B_DATA


@command(CC.VENDOR_TCG_TEST)
def vendor_tcg_test(tpm: Tpm, /, input_data: TPM2B_DATA) -> VendorTcgTestResponse:
    """Return what was sent, to test how vendor commands are dispatched (34.2)."""
    return VendorTcgTestResponse(input_data)
