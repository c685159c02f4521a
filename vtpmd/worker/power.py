"""Power: off, on or failed.

| state | INIT | STOP, SHUTDOWN, the worker's end | a defect |
|---|---|---|---|
| off | on | off | failed |
| on | Shutdown, off, on | Shutdown, off | failed |
| failed | off, on, from what is stored or still to be | off | failed |

Shutdown: TPM2_Shutdown(CLEAR), unless a Shutdown of the guest is still in force. Never STATE: that
would make a Restart of the TPM Reset that follows a reset machine, and keep its sessions (Part 1,
9.2.3). INIT that is refused ends in off.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

from vtpmd.ipc.messages import TpmPower
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.received import Received
from vtpmd.swtpm.host import ChannelSettings, Connection, ControlError
from vtpmd.swtpm.table import Result
from vtpmd.tpm.engine import RC, Engine, Reply, StateError

from .execution import LAST_PATIENCE, Execution
from .handover import HandedOverError
from .migration import Migration
from .rest import at_rest
from .sources import entropy, now

Startup = Literal["clear", "state", "none"]
"""What follows _TPM_Init when the host itself powers the TPM on: a TPM2_Startup, or nothing."""


class Power:
    """Implements `swtpm.host.Power`.

    `auto_shutdown`: send TPM2_Shutdown(CLEAR) before powering off, if the guest sent none.
    """

    def __init__(
        self,
        execution: Execution,
        migration: Migration,
        settings: ChannelSettings,
        *,
        auto_shutdown: bool,
    ) -> None:
        self._settings = settings
        self._execution = execution
        self._migration = migration
        self._auto_shutdown = auto_shutdown

    @property
    def buffer_sizes(self) -> tuple[int, int]:
        return self._execution.engine.buffer_sizes

    @property
    def state(self) -> TpmPower:
        if self._execution.engine.failed:
            return "failed"
        return "on" if self.running else "off"

    @property
    def running(self) -> bool:
        return self._execution.engine.running

    def init(self, connection: Connection, *, delete_volatile: bool) -> None:
        """_TPM_Init, with the blobs that came before it or the stored volatile state, if any."""
        possession = self._execution.possession
        with self._refusing():
            received = self._migration.take(connection)
            if received is not None:
                possession.demand_back(received.header)
                possession.handover.cancel()
                self._power_off()
                self._init_received(received, connection)
            elif possession.goes_on(connection):
                possession.handover.cancel()
                self._power_off()
                self._init_pending()
            else:
                possession.demand_present()
                possession.handover.init(connection)
                self._power_off()
                self._init_stored(delete_volatile)
        self._execution.report("powered-on", "")

    def start_up(self, startup: Startup) -> int:
        """Power on without a client and send TPM2_Startup, unless a volatile state was resumed.

        Not where it is uncertain whether this TPM may be used here. Returns the response code of
        TPM2_Startup. Raises ControlError as `init` does.
        """
        if not self._execution.possession.certain():
            self._execution.report("startup-refused", "its state has been read or received")
            return RC.SUCCESS
        resumed = self._execution.state.load_volatile() is not None
        with self._refusing():
            self._init_stored(delete_volatile=False)
        self._execution.report("powered-on", "")
        if resumed or startup == "none":
            return RC.SUCCESS
        return self._say(partial(Engine.startup, kind=startup))

    def stop(self) -> None:
        """Power off, with TPM2_Shutdown(CLEAR) if none of the guest is in force."""
        self._power_off()

    def end(self) -> None:
        """Like `stop`, at the worker's end: the last chance to store what is still to be."""
        self._power_off()
        execution = self._execution
        execution.canceling.clear()
        execution.insist(Reply(b""), LAST_PATIENCE)
        execution.check_space()
        if execution.state.unsaved is not None:
            execution.report("storage-failing", f"the last change is lost: {execution.storage}")

    def shutdown(self, connection: Connection) -> None:
        """Like `stop`; blobs that waited for INIT are forgotten. The worker lives on."""
        self._power_off()
        self._migration.forget(connection)
        self._execution.report("shutdown", "")

    def _init_stored(self, delete_volatile: bool) -> None:
        execution = self._execution
        engine = self._durable_engine()
        volatile = execution.state.load_volatile()
        self._power_on(engine, volatile)
        execution.tell_findings()
        execution.possession.drop()
        if delete_volatile:
            execution.state.clear_volatile()

    def _init_received(self, received: Received, connection: Connection) -> None:
        """Go on with what was received, beside what is ours and stays as it is."""
        self._execution.state.save_unsaved()
        engine = Engine.restore(received.permanent, entropy, now)
        engine.power_on(received.volatile)
        self._execution.possession.receive(received, connection)
        self._go_on(engine)

    def _init_pending(self) -> None:
        """The same once more, after a loss of power that must not count as an attack either."""
        pending = self._execution.possession.pending
        assert pending is not None
        received = pending.received
        self._power_on(at_rest(received.permanent, received.volatile), None)

    def _power_on(self, engine: Engine, volatile: bytes | None) -> None:
        engine.power_on(volatile)
        self._go_on(engine)

    def _go_on(self, engine: Engine) -> None:
        engine.buffer_size = self._settings.buffer_size
        self._execution.replace_engine(engine)

    def _durable_engine(self) -> Engine:
        execution = self._execution
        if execution.stale or execution.possession.pending is not None:
            engine = Engine.restore(execution.state.newest(), entropy, now)
            execution.state.settle()
            return engine
        return execution.engine

    def _power_off(self) -> None:
        if not self.running:
            return
        execution = self._execution
        possession = execution.possession
        if possession.handover.state == "away":  # what is stored is at rest, and stays
            execution.stale = True
        ours = possession.pending is None and not execution.stale
        if self._auto_shutdown and ours and execution.engine.shutdown_needed:
            # A machine that is reset or killed must not count as an attack on its TPM.
            # Also while nothing can be stored: it stays in memory, and counts there.
            execution.engine.nv_available = True
            execution.settle_now(execution.engine.shutdown("clear"))
            execution.check_space()
        execution.engine.power_off()
        execution.report("powered-off", "")

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Tell why the TPM can't be powered on, and refuse it."""
        try:
            yield
        except HandedOverError as error:
            self._execution.report("state-refused", str(error))
            raise ControlError(Result.FAIL) from None
        except (StateError, StorageError, EnvelopeError) as error:
            self._execution.engine.power_off()
            self._execution.report("state-refused", str(error))
            raise ControlError(Result.FAIL) from None

    def _say(self, command: Callable[[Engine], Reply]) -> int:
        """Run a command of the host's own; its response code."""
        self._execution.check_space()
        response = self._execution.settle_now(command(self._execution.engine))
        return int.from_bytes(response[6:10])
