"""What a run can end with, other than results."""


class Failure(Exception):
    """The guest, the TPM emulator or QEMU did not do what it should."""


class Unable(Exception):
    """The run cannot be made here."""
