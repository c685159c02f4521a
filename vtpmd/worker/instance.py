"""One virtual TPM as its channels see it: engine, durable state, power, migration.

The rule of the house: what a command changed for good is sealed and durable before anybody sees the
response. A write that fails nonetheless leaves the VM with a TPM in failure mode until the next
INIT, which starts again from what is on disk.
"""

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from vtpmd.ipc.messages import EventKind, TpmPower
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.slot import Slot
from vtpmd.swtpm.control import ControlError
from vtpmd.swtpm.info import describe
from vtpmd.swtpm.table import MAX_BUFFER, MAX_LOCALITY, BlobType, Result
from vtpmd.tpm.engine import RC, Engine, Facts, Reply, StartupType, StateError, refusal

from .persist import Key, Persistence

Report = Callable[[EventKind, str], None]
Startup = StartupType | Literal["none"]
"""What follows _TPM_Init when the host itself powers the TPM on: a TPM2_Startup, or nothing."""


def now() -> int:
    """Milliseconds of the monotonic clock."""
    return time.monotonic_ns() // 1_000_000


def entropy(count: int) -> bytes:
    """Random octets from the kernel: forked siblings share no generator state."""
    return os.urandom(count)


def frames_of(error: Exception) -> str:
    """Where an exception came from. Its text is left out: it may hold what must not be seen."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    where = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__} at {where}"


@dataclass
class _Incoming:
    """State blobs received and checked, to take effect at INIT."""

    engine: Engine | None = None
    generation: int = 0
    volatile: bytes | None = None


class Instance:
    """Implements ``swtpm.control.Host`` and executes the commands of the data channels.

    ``auto_shutdown``: say TPM2_Shutdown before power is taken away, if the guest did not.
    """

    def __init__(
        self,
        engine: Engine,
        persistence: Persistence,
        facts: Facts,
        report: Report,
        *,
        max_locality: int = MAX_LOCALITY,
        auto_shutdown: bool = True,
    ) -> None:
        self._engine = engine
        self._persistence = persistence
        self._facts = facts
        self._report = report
        self._incoming = _Incoming()
        self._handed_over = False
        self._stale = False
        self._space = True
        self._failure_told = False
        self._auto_shutdown = auto_shutdown
        self.locality = 0
        self.max_locality = max_locality
        self.buffer_size = MAX_BUFFER
        self.commands = 0
        self.canceling = False
        """Set by ``cancel``: whoever runs a command aside repeats it until the command ends."""

    # --- status -----------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        return self._persistence.generation

    @property
    def power(self) -> TpmPower:
        if self._engine.failed:
            return "failed"
        return "on" if self.running else "off"

    @property
    def storage(self) -> str:
        """Whether the last look found space for the next write: "available", or why not."""
        return "available" if self._space else self._persistence.shortage

    def pcr_values(self) -> dict[str, dict[int, bytes]]:
        return self._engine.pcr_values()

    # --- commands of the data channels ------------------------------------------------------

    def is_long(self, command: bytes) -> bool:
        """Whether ``run`` belongs on the side thread."""
        return self._engine.is_long(command)

    def prepare(self) -> bytes | None:
        """Before each command: a refusal, or None to go ahead."""
        self.commands += 1
        if self._handed_over:
            return refusal(RC.FAILURE)
        self._check_space()
        return None

    def run(self, command: bytes) -> Reply:
        """Execute in the engine. The only step that may happen on the side thread."""
        return self._engine.execute(command, self.locality)

    def settle(self, reply: Reply) -> bytes:
        """Make durable what the command changed, then release its response."""
        if reply.nv is not None:
            try:
                self._persistence.save(reply.nv)
            except (StorageError, ValueError) as error:
                self._fail(str(error))
                return refusal(RC.FAILURE)
        if self._engine.failed and not self._failure_told:
            self._stale = True  # half of a command may be in memory
            self._failure_told = True
            self._report("failure-mode", self._engine.defect or "the TPM's self test failed")
        return reply.response

    def execute(self, command: bytes) -> bytes:
        """``prepare``, ``run`` and ``settle`` in one."""
        return self.prepare() or self.settle(self.run(command))

    def note_defect(self, error: Exception) -> None:
        """Something failed that must not: this TPM ends in failure mode, the worker goes on."""
        self._stale = True
        self._engine.enter_failure_mode()
        self._report("defect", frames_of(error))

    def _check_space(self) -> None:
        space = self._persistence.reserve()
        self._engine.nv_available = space
        if space is not self._space:
            self._space = space
            if space:
                self._report("storage-recovered", "")
            else:
                self._report("storage-full", self._persistence.shortage)

    def _fail(self, reason: str) -> None:
        """Memory is ahead of the disk: nothing may build on it."""
        self._stale = True
        self._engine.enter_failure_mode()
        self._report("storage-failing", reason)

    # --- power ------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._engine.running

    def init(self, *, delete_volatile: bool) -> None:
        """_TPM_Init, with the blobs received before it or the stored volatile state, if any."""
        if self._handed_over:
            self._report("migration-out", "INIT refused: the state was handed over")
            raise ControlError(Result.FAIL)
        self._power_off()
        try:
            if self._incoming.engine is not None or self._incoming.volatile is not None:
                self._init_incoming()
            else:
                self._init_stored()
            if delete_volatile:
                self._persistence.delete_volatile()
        except (StateError, StorageError, EnvelopeError) as error:
            self._engine.power_off()
            self._report("state-refused", str(error))
            raise ControlError(Result.FAIL) from None
        self._report("powered-on", "")

    def _init_stored(self) -> None:
        if self._stale:
            self._engine = Engine.restore(self._persistence.load(), entropy, now)
            self._stale = False
        self._engine.power_on(self._persistence.load_volatile())
        self._failure_told = False

    def _init_incoming(self) -> None:
        incoming, self._incoming = self._incoming, _Incoming()
        engine = incoming.engine or self._engine
        engine.power_on(incoming.volatile)
        if incoming.engine is not None:
            floor = max(self._persistence.generation, incoming.generation)
            self._persistence.generation = floor
            self._persistence.save(engine.permanent())
        self._persistence.delete_volatile()
        self._engine = engine
        self._stale = self._failure_told = False
        self._report("migration-in", f"generation {self.generation}")

    def start_up(self, startup: Startup) -> int:
        """Power on without a client and send TPM2_Startup, unless a volatile state was resumed.

        Returns the response code of TPM2_Startup. Raises ControlError as ``init`` does.
        """
        resumed = self._persistence.load_volatile() is not None
        self.init(delete_volatile=False)
        if resumed or startup == "none":
            return RC.SUCCESS
        response = self.prepare() or self.settle(self._engine.startup(startup, self.locality))
        return int.from_bytes(response[6:10])

    def stop(self) -> None:
        """Power off, with an orderly TPM2_Shutdown if the guest did not send one."""
        self._power_off()

    def shutdown(self) -> None:
        """Like ``stop``; blobs that waited for INIT are forgotten. The worker lives on."""
        self._power_off()
        self._incoming = _Incoming()
        self._report("shutdown", "")

    def cancel(self) -> None:
        """End the command on the side thread, if one is there."""
        self.canceling = True
        self._engine.cancel()

    def _power_off(self) -> None:
        if not self.running:
            return
        ours = not (self._handed_over or self._stale)
        if self._auto_shutdown and ours and self._engine.shutdown_needed:
            self._inject_shutdown()
        self._engine.power_off()
        self._report("powered-off", "")

    def _inject_shutdown(self) -> None:
        """A hard reset must not count as an attack: say Shutdown for the guest."""
        kinds: tuple[StartupType, ...] = ("state", "clear")
        for kind in kinds:
            self._check_space()
            response = self.settle(self._engine.shutdown(kind))
            if response[6:10] == bytes(4):
                return

    # --- locality 4 and the established flag ------------------------------------------------

    @property
    def established(self) -> bool:
        return self._engine.established

    def reset_established(self, locality: int) -> bool:
        return self._engine.reset_established(locality)

    def hash_start(self) -> None:
        self._demand_possession()
        self._settle_hash(self._engine.hash_start())

    def hash_data(self, data: bytes) -> None:
        self._demand_possession()
        self._engine.hash_data(data)

    def hash_end(self) -> None:
        self._demand_possession()
        self._settle_hash(self._engine.hash_end())

    def _demand_possession(self) -> None:
        if self._handed_over or self._stale:
            raise ControlError(Result.FAIL)

    def _settle_hash(self, reply: Reply) -> None:
        self.settle(reply)
        self._demand_possession()

    # --- state blobs ------------------------------------------------------------------------

    def store_volatile(self) -> None:
        self._demand_possession()
        try:
            self._persistence.save_volatile(self._engine.volatile())
        except StorageError as error:
            self._report("storage-failing", str(error))
            raise ControlError(Result.FAIL) from None

    def state_blob(self, kind: BlobType) -> bytes:
        """The sealed state, from memory: always there, even before the first write."""
        if self._stale:
            raise ControlError(Result.FAIL)
        if kind is BlobType.PERMANENT:
            state = self._engine.permanent()
        else:
            state = self._engine.volatile()
        return self._persistence.export(kind, state)

    def set_state_blob(self, kind: BlobType, data: bytes) -> None:
        """Open and check a blob now, use it at INIT."""
        if kind is BlobType.SAVESTATE:
            raise ControlError(Result.BAD_PARAMETER)
        try:
            state, generation = self._persistence.import_(kind, data)
            if kind is BlobType.PERMANENT:
                engine = Engine.restore(state, entropy, now)
                self._incoming.engine, self._incoming.generation = engine, generation
            else:
                self._incoming.volatile = state
        except EnvelopeError as error:
            self._report("state-refused", str(error))
            raise ControlError(_BLOB_REFUSALS.get(error.kind, Result.BAD_PARAMETER)) from None
        except StateError as error:
            self._report("state-refused", str(error))
            refused = Result.BAD_VERSION if error.kind == "newer" else Result.BAD_PARAMETER
            raise ControlError(refused) from None
        self._handed_over = False

    def hand_over(self) -> None:
        """The state is leaving for another host: nothing may change here until LOCK_STORAGE."""
        self._handed_over = True
        self._report("migration-out", f"generation {self.generation}")

    def lock_storage(self) -> None:
        """The migration failed, or it was a snapshot: this TPM is in use again."""
        self._handed_over = False

    def rekey(self, key: Key) -> None:
        """Seal under ``key`` from now on, the stored volatile state included.

        Raises StorageError, EnvelopeError or ValueError: the old key stays in force.
        """
        if self._handed_over:
            raise ValueError("its state was handed over to another host")
        if self._stale:
            raise ValueError("its TPM is in failure mode: reset the virtual machine first")
        self._persistence.rekey(key, self._engine.permanent())

    def rewrap(self, slots: tuple[Slot, ...]) -> None:
        """Store the same DEK in other slots. Raises as ``rekey``."""
        self.rekey(replace(self._persistence.key, slots=slots))

    # --- description ------------------------------------------------------------------------

    def info(self, mask: int) -> dict[str, object]:
        return describe(self._facts, mask)


_BLOB_REFUSALS = {
    "wrong-key": Result.DECRYPT_ERROR,
    "wrong-instance": Result.DECRYPT_ERROR,
    "newer": Result.BAD_VERSION,
}
