"""State blobs: exported from this TPM, and imported into it to take effect at INIT."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from vtpmd.storage.envelope import Envelope
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.header import Header
from vtpmd.storage.key import Key
from vtpmd.storage.received import Received
from vtpmd.swtpm.host import Connection, ControlError
from vtpmd.swtpm.table import BlobType, Result
from vtpmd.tpm.engine import Engine, StateError

from .blobs import open_blob, seal_blob
from .execution import Execution
from .handover import HandedOverError, holder_of
from .old_keys import OldKeys
from .sources import entropy, now


@dataclass
class Blobs:
    """State blobs of one client, opened and checked; `header` is that of the permanent one."""

    permanent: bytes | None = None
    header: Header | None = None
    volatile: bytes | None = None


class Migration:
    """Implements `swtpm.host.Migration`.

    Blobs are of use to the connection that brought them alone; tools share theirs.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self.old_keys = OldKeys()
        self._blobs: dict[Connection | None, Blobs] = {}

    def store_volatile(self) -> None:
        execution = self._execution
        execution.demand_possession()
        with self._refusing():
            execution.state.save_volatile(execution.engine.volatile())

    def state_blob(self, connection: Connection, kind: BlobType) -> bytes:
        """The sealed state, from memory: always there, even before the first write."""
        execution, possession = self._execution, self._execution.possession
        if execution.stale or possession.handover.state == "away":
            raise ControlError(Result.FAIL)
        if possession.pending is not None:  # who saves a restored machine has it in use
            possession.demand(connection)
        if kind is BlobType.PERMANENT:
            state = execution.engine.permanent()
        else:
            state = execution.engine.volatile()
        return seal_blob(execution.state.key, execution.state.header, kind, state)

    def set_state_blob(self, connection: Connection, kind: BlobType, data: bytes) -> None:
        """Open and check a blob now, use it at INIT. Raises KeyAwaitedError, too."""
        if kind is BlobType.SAVESTATE:
            raise ControlError(Result.BAD_PARAMETER)
        with self._refusing():
            ours = self._execution.state
            old = partial(self.old_keys.of, connection)
            state, envelope = open_blob(ours.key, old, ours.header.uuid, kind, data)
            if kind is BlobType.PERMANENT:
                self._execution.possession.demand_back(envelope.header)
                Engine.restore(state, entropy, now)
                self._adopt(envelope, connection)
            blobs = self._blobs.setdefault(holder_of(connection), Blobs())
            if kind is BlobType.PERMANENT:
                blobs.permanent, blobs.header = state, envelope.header
            else:
                blobs.volatile = state

    def take(self, connection: Connection) -> Received | None:
        """What this client has brought since its last INIT or SHUTDOWN; nothing waits afterwards.

        Volatile state alone belongs to the permanent state that is here, if that is not away.
        Raises StorageError, EnvelopeError.
        """
        blobs, ours = self.forget(connection), self._execution
        if blobs is None:
            return None
        if blobs.permanent is not None and blobs.header is not None:
            return Received(blobs.header, blobs.permanent, blobs.volatile)
        if ours.possession.awaits or ours.possession.handover.state == "away":
            return None
        return Received(ours.state.header, ours.permanent(), blobs.volatile)

    @property
    def waiting(self) -> bool:
        """Whether blobs that a client has brought wait for INIT."""
        return bool(self._blobs)

    def forget(self, connection: Connection) -> Blobs | None:
        """Drop what this client has brought; that, if there was something."""
        self.old_keys.forget(connection)
        return self._blobs.pop(holder_of(connection), None)

    def hand_over(self, connection: Connection) -> None:
        """Somebody has the whole state: that is durable before it is said."""
        with self._refusing():
            self._execution.possession.handover.read(connection)

    def lock_storage(self, connection: Connection) -> None:
        """The migration failed, or it was a snapshot: this TPM is in use again."""
        with self._refusing():
            self._execution.possession.handover.lock(connection)

    def disconnected(self, connection: Connection) -> None:
        """Nobody will use what this connection has brought."""
        self._blobs.pop(connection, None)
        self.old_keys.forget(connection)
        self._execution.possession.disconnected(connection)

    def _adopt(self, envelope: Envelope, connection: Connection) -> None:
        """Where no TPM is yet, the first one keeps the key with which it comes."""
        state, dek_id = self._execution.state, envelope.header.dek_id
        if self._execution.possession.awaits and dek_id != state.key.dek_id:
            dek = bytearray(self.old_keys.of(connection, envelope))
            state.adopt(Key(dek, dek_id, envelope.slots))

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Tell why something is refused, and refuse it."""
        report = self._execution.report
        try:
            yield
        except StorageError as error:
            report("storage-failing", str(error))
            raise ControlError(Result.FAIL) from None
        except EnvelopeError as error:
            report("state-refused", str(error))
            raise ControlError(_REFUSALS.get(error.kind, Result.BAD_PARAMETER)) from None
        except StateError as error:
            report("state-refused", str(error))
            refused = Result.BAD_VERSION if error.kind == "newer" else Result.BAD_PARAMETER
            raise ControlError(refused) from None
        except HandedOverError as error:
            report("state-refused", str(error))
            raise ControlError(Result.FAIL) from None


_REFUSALS = {
    "wrong-key": Result.DECRYPT_ERROR,
    "wrong-instance": Result.DECRYPT_ERROR,
    "newer": Result.BAD_VERSION,
}
