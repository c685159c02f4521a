"""For how long an answer may be withheld: no longer than the driver of a Linux guest waits for it.

Its durations (drivers/char/tpm/tpm.h, tpm2-cmd.c) are 750 ms for the commands of `_MEDIUM`, 2 s for
some, and minutes for all others. When one has passed it cancels the command and gives up the TPM's
answer; the rest of each is left to QEMU and the guest.
"""

from typing import Final

LONGEST: Final = 1.8
"""Seconds for any command."""
SHORT: Final = 0.5
_MEDIUM: Final = frozenset(
    code.to_bytes(4)
    for code in (
        0x13E,  # TPM2_SequenceComplete
        0x144,  # TPM2_Startup
        0x15C,  # TPM2_SequenceUpdate
        0x17A,  # TPM2_GetCapability
        0x182,  # TPM2_PCR_Extend
        0x185,  # TPM2_EventSequenceComplete
        0x186,  # TPM2_HashSequenceStart
    )
)


def patience(command: bytes) -> float:
    """Seconds for which the answer to a TPM command may be withheld."""
    return SHORT if command[6:10] in _MEDIUM else LONGEST
