"""Power: off, on or failed.

| state | INIT | STOP, SHUTDOWN, the worker's end | a failed write, a defect |
|---|---|---|---|
| off | on | off | failed |
| on | Shutdown, off, on | Shutdown, off | failed |
| failed | off, on, from what is on disk | off | failed |

Shutdown: TPM2_Shutdown(CLEAR), unless a Shutdown of the guest is still in force. Never STATE: that
would make a Restart of the TPM Reset that follows a reset machine, and keep its sessions (Part 1,
9.2.3). INIT that is refused ends in off.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

from vtpmd.ipc.messages import TpmPower
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.swtpm.host import ChannelSettings, ControlError
from vtpmd.swtpm.table import Result
from vtpmd.tpm.engine import RC, Engine, Reply, StateError

from .execution import Execution
from .migration import Incoming, Migration
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
    def state(self) -> TpmPower:
        if self._execution.engine.failed:
            return "failed"
        return "on" if self.running else "off"

    @property
    def running(self) -> bool:
        return self._execution.engine.running

    def init(self, *, delete_volatile: bool) -> None:
        """_TPM_Init, with the blobs received before it or the stored volatile state, if any."""
        execution = self._execution
        if execution.handed_over:
            execution.report("migration-out", "INIT refused: the state was handed over")
            raise ControlError(Result.FAIL)
        self._power_off()
        try:
            if incoming := self._migration.take_incoming():
                self._init_incoming(incoming)
            else:
                self._init_stored()
            if delete_volatile:
                execution.state.clear_volatile()
        except (StateError, StorageError, EnvelopeError) as error:
            execution.engine.power_off()
            execution.report("state-refused", str(error))
            raise ControlError(Result.FAIL) from None
        execution.report("powered-on", "")

    def start_up(self, startup: Startup) -> int:
        """Power on without a client and send TPM2_Startup, unless a volatile state was resumed.

        Returns the response code of TPM2_Startup. Raises ControlError as `init` does.
        """
        resumed = self._execution.state.load_volatile() is not None
        self.init(delete_volatile=False)
        if resumed or startup == "none":
            return RC.SUCCESS
        return self._say(partial(Engine.startup, kind=startup))

    def stop(self) -> None:
        """Power off, with TPM2_Shutdown(CLEAR) if none of the guest is in force."""
        self._power_off()

    def shutdown(self) -> None:
        """Like `stop`; blobs that waited for INIT are forgotten. The worker lives on."""
        self._power_off()
        self._migration.take_incoming()
        self._execution.report("shutdown", "")

    def _init_stored(self) -> None:
        execution = self._execution
        engine = self._durable_engine()
        engine.buffer_size = self._settings.buffer_size
        engine.power_on(execution.state.load_volatile())
        execution.tell_findings()
        execution.replace_engine(engine)

    def _init_incoming(self, incoming: Incoming) -> None:
        execution, state = self._execution, self._execution.state
        engine = incoming.engine or self._durable_engine()
        engine.buffer_size = self._settings.buffer_size
        engine.power_on(incoming.volatile)
        if incoming.engine is not None:
            state.save(engine.permanent(), incoming.header)
        state.clear_volatile()
        execution.replace_engine(engine)
        execution.report("migration-in", f"generation {state.generation}")

    def _durable_engine(self) -> Engine:
        execution = self._execution
        if execution.stale:
            engine = Engine.restore(execution.state.load(), entropy, now)
            execution.state.settle()
            return engine
        return execution.engine

    def _power_off(self) -> None:
        if not self.running:
            return
        execution = self._execution
        ours = not (execution.handed_over or execution.stale)
        if self._auto_shutdown and ours and execution.engine.shutdown_needed:
            # A machine that is reset or killed must not count as an attack on its TPM.
            self._say(partial(Engine.shutdown, kind="clear"))
        execution.engine.power_off()
        execution.report("powered-off", "")

    def _say(self, command: Callable[[Engine], Reply]) -> int:
        """Run a command of the host's own; its response code."""
        self._execution.check_space()
        response = self._execution.settle(command(self._execution.engine))
        return int.from_bytes(response[6:10])
