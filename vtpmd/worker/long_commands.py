"""Long TPM commands run on the side thread; meanwhile the loop goes on.

Control requests that don't touch the engine are answered, the others wait their turn; INIT, STOP
and SHUTDOWN cancel the command first. A response whose change could not be stored is withheld the
same way, and what is still to be stored then is tried again from time to time.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from vtpmd.swtpm.table import Turn
from vtpmd.tpm.engine import Reply

from .execution import Execution, UnstoredError
from .patience import patience
from .side import SideThread

_CANCEL_AGAIN = 0.02
STORE_AGAIN = 1.0
"""Seconds between two attempts to store what could not be stored."""
_SHARE = 4  # the TPM is free for that many times as long as an attempt has taken

C = TypeVar("C")


class LongCommands(Generic[C]):
    """At most one command at a time, for one client: `client`, None while none runs.

    `on_free` is called when one has ended and its response is with its client.
    """

    def __init__(self, execution: Execution, side: SideThread[Reply]) -> None:
        self._execution = execution
        self._side = side
        self.client: C | None = None
        self._respond: Callable[[bytes], None] = _tell_nobody
        self._busy = False
        self._again: float | None = None
        self._pause = STORE_AGAIN
        self._store: float | None = None  # when that is tried next
        self.on_free: Callable[[], None] = lambda: None

    def fileno(self) -> int:
        """Readable once the command has ended: call `finish`."""
        return self._side.fileno()

    def free_for(self, turn: Turn) -> bool:
        """Whether a request may be handled now; one that cancels also cancels what it waits for."""
        if not self._busy or turn is Turn.AT_ONCE:
            return True
        if turn is Turn.CANCELS:
            self._execution.cancel()
        return False

    def run(
        self, client: C, command: bytes, locality: int, respond: Callable[[bytes], None]
    ) -> None:
        """Execute on the side thread, then call `respond`; `prepare` has been called."""
        self.client, self._respond = client, respond
        self._execution.canceling.clear()
        self._begin(partial(self._execution.run, command, locality))

    def withhold(
        self, client: C, command: bytes, unstored: Reply, respond: Callable[[bytes], None]
    ) -> None:
        """Insist on storing what this command has changed, then call `respond`."""
        self.client, self._respond = client, respond
        self._execution.canceling.clear()
        self._begin(partial(self._execution.insist, unstored, patience(command)))

    def finish(self) -> None:
        """Take the reply, make it durable, send the response, then continue what has waited."""
        reply = self._side.outcome()
        self._busy = False
        self._execution.check_space()
        try:
            response = self._execution.settle(reply)
        except UnstoredError as unstored:
            self._begin(partial(self._execution.insist, unstored.reply))
            return
        respond, self._respond = self._respond, _tell_nobody
        self.client, self._again = None, None
        respond(response)
        self.on_free()

    @property
    def deadline(self) -> float | None:
        return self._again if self._busy else self._store

    def tick(self, now: float) -> None:
        """Cancel again: the first time may have been before the command had begun. Store again."""
        if self._busy:
            if not self._execution.canceling.is_set():
                self._again = None
            elif self._again is None or self._again <= now:
                self._execution.cancel()
                self._again = now + _CANCEL_AGAIN
        elif self._execution.state.unsaved is None:
            self._store = None
        elif self._store is None:
            self._store = now + self._pause
        elif self._store <= now:
            self._store = None
            self._execution.canceling.clear()
            self._begin(self._store_again)

    def _begin(self, job: Callable[[], Reply]) -> None:
        self._busy = True
        self._side.submit(job)

    def _store_again(self) -> Reply:
        begun = time.monotonic()
        self._execution.store_unsaved()
        self._pause = max(STORE_AGAIN, _SHARE * (time.monotonic() - begun))
        return Reply(b"")


def _tell_nobody(response: bytes) -> None:
    """What was stored later has been answered for long."""
