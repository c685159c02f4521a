"""Part 3, chapter 9: Start-up."""

from ..command import command
from ..core import power
from ..state import Tpm
from ..wire.constants import CC
from ..wire.interface import TPM_SU


@command(CC.STARTUP, nv=True, sessions=False, keeps_orderly=True, starts=True)
def startup(tpm: Tpm, /, startup_type: TPM_SU) -> None:
    """Make the TPM ready for commands after _TPM_Init (9.3)."""
    power.startup(tpm, startup_type)


@command(CC.SHUTDOWN, nv=True, keeps_orderly=True)
def shutdown(tpm: Tpm, /, shutdown_type: TPM_SU) -> None:
    """Prepare for a loss of power (9.4)."""
    power.shutdown(tpm, shutdown_type)
