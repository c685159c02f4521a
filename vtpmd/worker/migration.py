"""State blobs: exported from this TPM, and imported into it to take effect at INIT."""

from dataclasses import dataclass

from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.header import Header
from vtpmd.swtpm.host import ControlError
from vtpmd.swtpm.table import BlobType, Result
from vtpmd.tpm.engine import Engine, StateError

from .blobs import open_blob, seal_blob
from .execution import Execution
from .sources import entropy, now


@dataclass
class Incoming:
    """State blobs received and checked; `header` is that of the permanent one."""

    engine: Engine | None = None
    header: Header | None = None
    volatile: bytes | None = None

    def __bool__(self) -> bool:
        return self.engine is not None or self.volatile is not None


class Migration:
    """Implements `swtpm.host.Migration`. `incoming` waits for INIT."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self.incoming = Incoming()

    def store_volatile(self) -> None:
        execution = self._execution
        execution.demand_possession()
        try:
            execution.state.save_volatile(execution.engine.volatile())
        except StorageError as error:
            execution.report("storage-failing", str(error))
            raise ControlError(Result.FAIL) from None

    def state_blob(self, kind: BlobType) -> bytes:
        """The sealed state, from memory: always there, even before the first write."""
        execution = self._execution
        if execution.stale:
            raise ControlError(Result.FAIL)
        if kind is BlobType.PERMANENT:
            state = execution.engine.permanent()
        else:
            state = execution.engine.volatile()
        return seal_blob(execution.state.key, execution.state.header, kind, state)

    def set_state_blob(self, kind: BlobType, data: bytes) -> None:
        """Open and check a blob now, use it at INIT."""
        if kind is BlobType.SAVESTATE:
            raise ControlError(Result.BAD_PARAMETER)
        try:
            ours = self._execution.state
            state, header = open_blob(ours.key, ours.header.uuid, kind, data)
            if kind is BlobType.PERMANENT:
                engine = Engine.restore(state, entropy, now)
                self.incoming.engine, self.incoming.header = engine, header
            else:
                self.incoming.volatile = state
        except EnvelopeError as error:
            self._execution.report("state-refused", str(error))
            raise ControlError(_REFUSALS.get(error.kind, Result.BAD_PARAMETER)) from None
        except StateError as error:
            self._execution.report("state-refused", str(error))
            refused = Result.BAD_VERSION if error.kind == "newer" else Result.BAD_PARAMETER
            raise ControlError(refused) from None
        self._execution.handed_over = False

    def take_incoming(self) -> Incoming:
        """What was received since the last INIT or SHUTDOWN; nothing waits afterwards."""
        incoming, self.incoming = self.incoming, Incoming()
        return incoming

    def hand_over(self) -> None:
        """The state is leaving for another host: nothing may change here until LOCK_STORAGE."""
        self._execution.handed_over = True
        generation = self._execution.state.generation
        self._execution.report("migration-out", f"generation {generation}")

    def lock_storage(self) -> None:
        """The migration failed, or it was a snapshot: this TPM is in use again."""
        self._execution.handed_over = False


_REFUSALS = {
    "wrong-key": Result.DECRYPT_ERROR,
    "wrong-instance": Result.DECRYPT_ERROR,
    "newer": Result.BAD_VERSION,
}
