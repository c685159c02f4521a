"""Commands in the engine: what each changed for good is durable before anybody sees its response.

A write that fails withholds the response (`UnstoredError`) while `insist` repeats it. If that is in
vain, the change stays in memory, over INIT too, and commands that write are refused until something
newer than the disk has is stored.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from vtpmd.ipc.messages import EventKind
from vtpmd.storage.errors import StorageError
from vtpmd.storage.header import Handover
from vtpmd.storage.key import Key
from vtpmd.storage.sealed import Finding, SealedState
from vtpmd.storage.slot import Slot
from vtpmd.storage.state_file import Condition
from vtpmd.swtpm.host import Connection, ControlError
from vtpmd.swtpm.table import Result
from vtpmd.tpm.engine import RC, Engine, Reply, refusal

from . import rest
from .errors import frames_of
from .patience import LONGEST
from .possession import PROBE, Possession
from .tally import Tally

WAITS = "a restored state waits for its machine's first command"
LAST_PATIENCE = 0.5
"""Seconds for which the end of a worker is put off to store what is still to be stored."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.2
REMEDY = "what must be stored is refused until it is: make space or repair the storage"

Report = Callable[[EventKind, str], None]

_FINDINGS: dict[Condition, EventKind] = {
    "interrupted": "write-interrupted",
    "damaged": "state-damaged",
}


class UnstoredError(Exception):
    """What a command has changed is in memory alone: `reply` is withheld, for `insist`."""

    def __init__(self, reply: Reply) -> None:
        super().__init__("a change could not be stored")
        self.reply = reply


class Execution:
    """The engine in use and its durable state.

    `possession` says who may use it. `stale`: the engine's memory is ahead of the disk, or half of
    a command is in it; nothing may build on it. `handover` is what the supervisor remembers.
    """

    def __init__(
        self,
        engine: Engine,
        state: SealedState,
        report: Report,
        handover: Handover = "ours",
        *,
        absent: str = "",
    ) -> None:
        self.engine = engine
        self.state = state
        self.report = report
        self.commands = 0
        self.tally = Tally()
        self.canceling = threading.Event()
        """Set by `cancel`: whoever runs a command aside repeats it until the command ends."""
        self.stale = False
        self._space = True
        self._trouble = ""  # why the last save failed
        self._failure_told = False
        self._findings_told: set[Finding] = set()
        self.possession = Possession(self, handover, absent=absent)

    @property
    def storage(self) -> str:
        """Whether the last look found space for the next write: "available", or why not."""
        return "available" if self._space else self._shortage

    def prepare(self, command: bytes, connection: Connection | None = None) -> bytes | None:
        """Before each command: a refusal, or None to go ahead."""
        self.commands += 1
        if connection is not None and not connection.begun:
            if command == PROBE:  # any answer will do, and the guest's Shutdown stays in force
                return refusal(RC.FAILURE)
            connection.begun = True
        if not self.possession.certain():
            refused = self.possession.claim(command, connection)
            if refused is not None:
                return refused
        if self.state.reserve() is not self._space:
            self.check_space()
        return None

    def run(self, command: bytes, locality: int) -> Reply:
        """Execute in the engine. The only step that may happen on the side thread."""
        return self.engine.execute(command, locality)

    def settle(self, reply: Reply) -> bytes:
        """Make durable what the command changed, then release its response.

        Raises UnstoredError, where that has failed.
        """
        if reply.nv is not None and self.possession.pending is None:
            try:
                self.state.save(reply.nv)
                self.tally.nv_writes += 1
            except StorageError as error:
                self._keep(reply.nv, str(error))
                raise UnstoredError(reply) from None
            except ValueError as error:  # larger than any record
                self._fail(str(error))
                return refusal(RC.FAILURE)
        if self.engine.failed and not self._failure_told:
            self.stale = True  # half of a command may be in memory
            self._failure_told = True
            self.report("failure-mode", self.engine.defect or "the TPM's self test failed")
        return reply.response

    def settle_now(self, reply: Reply) -> bytes:
        """The same for whoever waits for nothing: TPM_RC_FAILURE where it could not be stored."""
        try:
            return self.settle(reply)
        except UnstoredError:
            return refusal(RC.FAILURE)

    def insist(self, withheld: Reply, patience: float = LONGEST) -> Reply:
        """Write `unsaved` again until it is stored, for `patience` seconds or until `cancel`.

        What to answer then: `withheld`, or TPM_RC_FAILURE. Meant for the side thread; whoever waits
        for that calls `check_space` afterwards.
        """
        given_up, pause = time.monotonic() + patience, _FIRST_PAUSE
        while self.state.unsaved is not None:
            left = given_up - time.monotonic()
            if left <= 0 or self.canceling.wait(min(pause, left)):
                return Reply(refusal(RC.FAILURE))
            self.store_unsaved()
            pause = min(2 * pause, _LONGEST_PAUSE)
        return Reply(withheld.response)

    def store_unsaved(self) -> bool:
        """Whether nothing is left to be stored, after one more attempt."""
        try:
            self.state.save_unsaved()
        except StorageError as error:
            self._trouble = str(error)
        return self.state.unsaved is None

    def execute(self, command: bytes, locality: int, connection: Connection | None = None) -> bytes:
        """`prepare`, `run` and `settle` in one; without a `connection`, for nobody's."""
        refused = self.prepare(command, connection)
        if refused is not None:
            return refused
        answer = self.engine.answer(command, locality)
        return self.settle(answer) if isinstance(answer, Reply) else answer

    def cancel(self) -> None:
        """End the command on the side thread, if one is there."""
        self.canceling.set()
        self.engine.cancel()

    def note_defect(self, error: Exception) -> None:
        """Report an internal error and put this TPM into failure mode; the worker goes on."""
        self.stale = True
        self.engine.enter_failure_mode()
        self.report("defect", frames_of(error))

    def tick(self) -> None:
        """Let the TPM's time go on to now, and make durable what that changes."""
        self.settle_now(self.engine.tick())

    def check_space(self) -> None:
        """Tell the engine if the next write has space, and the supervisor when that changes."""
        space = self.state.reserve()
        if space is not self._space:
            self._space = self.engine.nv_available = space
            if space:
                self.report("storage-recovered", "")
            else:
                failing = self.state.unsaved is not None
                self.report("storage-failing" if failing else "storage-full", self._shortage)

    def tell_findings(self) -> None:
        """Tell what of the stored state was not whole, each thing once."""
        for finding in self.state.findings:
            if finding not in self._findings_told:
                self._findings_told.add(finding)
                detail = ": ".join(filter(None, (f"{finding.kind} state", finding.reason)))
                self.report(_FINDINGS[finding.condition], detail)
        self.state.findings.clear()

    def replace_engine(self, engine: Engine) -> None:
        """Go on with an engine that holds just what is on disk."""
        self.engine = engine
        engine.nv_available = self._space
        self.stale = self._failure_told = False

    def demand_possession(self) -> None:
        """Raise ControlError unless the state is ours, as of now for good, and in order."""
        if self.stale:
            raise ControlError(Result.FAIL)
        self.possession.demand()

    def permanent(self, at_rest: bool = False) -> bytes:
        """The permanent state that is ours, whatever is in use. Raises as `SealedState.load`.

        With `at_rest` a start from it is orderly, should this TPM not go on.
        """
        if self.stale or self.possession.pending is not None:
            return self.state.newest()
        permanent = self.engine.permanent()
        if at_rest and self.engine.running:
            return rest.at_rest(permanent, self.engine.volatile()).permanent()
        return permanent

    @property
    def unsettled(self) -> str:
        """Why only its machine can change the TPM just now; empty if an administrator can, too."""
        if self.possession.awaits:
            return self.possession.absent
        if self.possession.pending is not None:
            return WAITS
        return "its TPM is in failure mode: reset the machine first" if self.stale else ""

    def rekey(self, key: Key) -> None:
        """Seal under `key` from now on, the stored volatile state included.

        Raises StorageError, EnvelopeError or ValueError: the old key stays in force.
        """
        if self.possession.awaits:
            raise ValueError(self.possession.absent)
        if self.possession.handover.state == "away":
            raise ValueError("its state was handed over to another host")
        if self.stale and self.engine.running:
            raise ValueError("its TPM is in failure mode: reset the virtual machine first")
        if self.state.newer_waits:
            raise ValueError(WAITS)
        self.state.rekey(key, self.permanent())

    def rewrap(self, slots: tuple[Slot, ...]) -> None:
        """Store the same DEK in other slots. Raises as `rekey`."""
        self.rekey(replace(self.state.key, slots=slots))

    @property
    def _shortage(self) -> str:
        reason = self._trouble if self.state.unsaved is not None else self.state.shortage
        return f"{reason}; {REMEDY}"

    def _keep(self, permanent: bytes, reason: str) -> None:
        """Let the change stay in memory, of which something is now newer than the disk."""
        self.state.unsaved, self._trouble = permanent, reason
        self.check_space()

    def _fail(self, reason: str) -> None:
        self.stale = True
        self.engine.enter_failure_mode()
        self.report("storage-failing", reason)
