"""Who is told of each request and its answer, and why a TPM command was answered 0x101."""

from typing import Final, Protocol

from vtpmd.swtpm.data import CC_SET_LOCALITY

from .execution import WAITS, Execution
from .handover import AWAY
from .possession import PROBE

_OFF: Final = "the TPM is off: it wants INIT on the control channel first"
_PROBE: Final = "QEMU asked what kind of TPM this is, for which any answer will do"
_NO_VENDOR_COMMAND: Final = (
    "TPM2_CC_SET_LOCALITY is permitted by --locality allow-set-locality only"
)
_DEFECT: Final = "an internal error, of which the log tells"


class Observer(Protocol):
    """Told of codes and names, never of contents."""

    def executed(self, command_code: bytes, locality: int, response_code: int, why: str) -> None:
        """A TPM command was answered. `why` explains TPM_RC_FAILURE, and is empty otherwise.

        `command_code` has four octets, or less where there was no command.
        """

    def controlled(self, name: str, result: int) -> None:
        """A control command was answered."""


def why_failed(execution: Execution, command: bytes) -> str:
    """Why this command has just been answered TPM_RC_FAILURE, for people."""
    engine, possession = execution.engine, execution.possession
    if command[6:10] == CC_SET_LOCALITY.to_bytes(4):
        return _NO_VENDOR_COMMAND
    if possession.absent:
        return possession.absent
    if not engine.running:
        return _OFF
    if engine.failed:
        return f"failure mode: {engine.defect or 'a self test failed, or a change was not stored'}"
    if execution.state.unsaved is not None:
        return f"what it has changed could not be stored: {execution.storage}"
    if possession.handover.state == "away":
        return AWAY
    if command == PROBE:
        return _PROBE
    return WAITS if possession.pending is not None else _DEFECT
