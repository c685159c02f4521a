"""Long TPM commands run on the side thread; meanwhile the loop goes on.

Control requests that don't touch the engine are answered, the others wait their turn; INIT, STOP
and SHUTDOWN cancel the command first.
"""

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from vtpmd.swtpm.table import Turn
from vtpmd.tpm.engine import Reply

from .execution import Execution
from .side import SideThread

_CANCEL_AGAIN = 0.02

C = TypeVar("C")


class LongCommands(Generic[C]):
    """At most one command at a time, for one client: `client`, None while nothing runs.

    `on_free` is called when one has ended and its response is with its client.
    """

    def __init__(self, execution: Execution, side: SideThread[Reply]) -> None:
        self._execution = execution
        self._side = side
        self.client: C | None = None
        self._respond: Callable[[bytes], None] = lambda response: None
        self._again: float | None = None
        self.on_free: Callable[[], None] = lambda: None

    def fileno(self) -> int:
        """Readable once the command has ended: call `finish`."""
        return self._side.fileno()

    def free_for(self, turn: Turn) -> bool:
        """Whether a request may be handled now; one that cancels also cancels what it waits for."""
        if self.client is None or turn is Turn.AT_ONCE:
            return True
        if turn is Turn.CANCELS:
            self._execution.cancel()
        return False

    def run(
        self, client: C, command: bytes, locality: int, respond: Callable[[bytes], None]
    ) -> None:
        """Execute on the side thread, then call `respond`; `prepare` has been called."""
        self.client, self._respond = client, respond
        self._execution.canceling = False
        self._side.submit(partial(self._execution.run, command, locality))

    def finish(self) -> None:
        """Take the reply, make it durable, send the response, then continue what has waited."""
        response = self._execution.settle(self._side.outcome())
        self.client, self._again = None, None
        self._respond(response)
        self.on_free()

    @property
    def deadline(self) -> float | None:
        return self._again

    def tick(self, now: float) -> None:
        """Cancel again: the first time may have been before the command had begun."""
        if self.client is None or not self._execution.canceling:
            self._again = None
        elif self._again is None or self._again <= now:
            self._execution.cancel()
            self._again = now + _CANCEL_AGAIN
