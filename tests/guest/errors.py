"""What a run can end with, other than results."""


class GuestError(Exception):
    """The guest, the TPM emulator or QEMU did not do what it should."""


class NotPossibleError(Exception):
    """The run cannot be made here."""
