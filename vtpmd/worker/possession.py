"""Whether this TPM may be used here and now: its hand-over, and received state that waits."""

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from vtpmd.ipc.messages import EventKind
from vtpmd.storage.errors import EnvelopeError, StorageError, damaged
from vtpmd.storage.header import BRANCH_SIZE, Handover, Header
from vtpmd.storage.received import Received
from vtpmd.storage.sealed import SealedState
from vtpmd.swtpm.host import Connection, ControlError
from vtpmd.swtpm.table import Result
from vtpmd.tpm.engine import RC, Engine, refusal

from .handover import HandedOverError, HandOver, holder_of, speaks_for
from .rest import at_rest
from .suspension import Lent, Links

AWAITED = "its TPM is still to come from another host: nothing can be used here before that"
PROBE = bytes.fromhex("80010000000a00000181")
"""TPM2_ReadClock, with which QEMU finds out what version a TPM has before it powers it on."""


class InUse(Protocol):
    """The engine in use and its durable state."""

    engine: Engine

    @property
    def state(self) -> SealedState: ...
    def permanent(self, at_rest: bool = False) -> bytes: ...
    def report(self, kind: EventKind, detail: str, /) -> None: ...


@dataclass(frozen=True)
class Pending:
    """Received state, durable beside our own, until `owner` (None: any tool) sends a command."""

    received: Received
    owner: Connection | None


class Possession:
    """Asked before each command. `pending` is what the engine in use was made from, if any.

    `absent`: why there is no TPM to use here, and the engine only stands in for one; else empty.
    `resting`: what is stored is at rest, and what is in use is not.
    """

    def __init__(self, execution: InUse, at_least: Handover = "ours", *, absent: str = "") -> None:
        self._execution = execution
        self.absent = absent
        self.resting = False
        self._stored = execution.state
        self.handover = HandOver(self._stored, execution.permanent, execution.report, at_least)
        self.pending: Pending | None = None

    def begin(self) -> None:
        """Go on from what is stored: what was received and not promoted waits for its machine."""
        self.pending = self._left_behind()

    def suspend(self, links: Links) -> tuple[Lent, bool, int]:
        """What a successor has to know: hand-over, whether something is pending, and its owner."""
        owner = self.pending.owner if self.pending else None
        return self.handover.suspend(links), self.pending is not None, links.number(owner)

    def resume(self, lent: Lent, pending: bool, owner: int, links: Links) -> None:
        """Go on where a predecessor has suspended it. Raises EnvelopeError, StorageError."""
        self.handover.resume(lent, links)
        received = self._stored.received() if pending else None
        if pending and received is None:
            raise damaged("no received state is there, where some was pending")
        self.pending = None if received is None else Pending(received, links.at(owner))

    @property
    def awaits(self) -> bool:
        """Whether the engine in use only stands in for a TPM."""
        return bool(self.absent)

    def certain(self) -> bool:
        """Whether the TPM is ours and what is in use is what is stored as our own."""
        return (
            self.pending is None
            and not self.absent
            and not self.resting
            and self.handover.state == "ours"
        )

    def claim(self, command: bytes, connection: Connection | None) -> bytes | None:
        """Before a command: a refusal, or None when whoever sends it may go on here."""
        if command == PROBE and self.handover.state != "away":
            return None
        try:
            self._claim(connection)
        except HandedOverError:
            return refusal(RC.FAILURE)
        except (StorageError, EnvelopeError) as error:
            self._execution.report("storage-failing", str(error))
            return refusal(RC.NV_UNAVAILABLE)
        return None

    def demand(self, connection: Connection | None = None) -> None:
        """The same for what is no TPM command. Raises ControlError."""
        if not self.certain() and self.claim(b"", connection) is not None:
            raise ControlError(Result.FAIL)

    def demand_back(self, header: Header) -> None:
        """Raise HandedOverError for state with which a TPM that is away can't come back."""
        if self.handover.state == "away" and not header.is_back(self._stored.header):
            raise HandedOverError(
                "the state that came is older than the one that was handed over to another host"
            )

    def demand_present(self) -> None:
        """Raise HandedOverError while there is no TPM."""
        if self.absent:
            raise HandedOverError(self.absent)

    def receive(self, received: Received, connection: Connection) -> None:
        """Keep received state beside our own, or as our own where there is none.

        Raises StorageError, StateError.
        """
        if self.awaits:
            self._settle_in(received)
            return
        self._stored.receive(received)
        self.pending = Pending(received, holder_of(connection))

    def goes_on(self, connection: Connection) -> bool:
        """Whether INIT by `connection` goes on with what is pending, which is then its own.

        It does for who brought it, and for everybody if our own state is older: the machine has
        moved here, and its TPM was only not used yet.
        """
        if (pending := self.pending) is None:
            return False
        if not speaks_for(connection, pending.owner):
            if not self._supersedes(pending.received):
                return False
            self.pending = Pending(pending.received, holder_of(connection))
        return True

    def drop(self) -> None:
        """Forget what is pending, in memory and on the disk."""
        if self.pending is not None:
            self.pending = None
            with suppress(StorageError):  # it is passed over, whatever is left of it
                self._stored.forget_received()

    def promote(self) -> None:
        """Make what is pending our own, in a new line of the TPM's life. Raises StorageError."""
        if self.pending is None:
            return
        known = self._stored.header
        header = self.pending.received.header.anew(os.urandom(BRANCH_SIZE), known)
        self.handover.record(self._execution.engine.permanent(), header)
        self.handover.begun = "a restored machine has sent its first command"
        with suppress(StorageError):  # of another branch from now on
            self._stored.clear_volatile()
        self.drop()
        self._execution.report(
            "migration-in", f"generation {self._stored.generation}, epoch {header.epoch}"
        )

    def disconnected(self, connection: Connection) -> None:
        """This connection is gone: what it has brought waits for nobody."""
        self.handover.disconnected(connection)
        if self.pending is not None and self.pending.owner is connection:
            self.pending = replace(self.pending, owner=Connection(attached=True))

    def _settle_in(self, received: Received) -> None:
        """Make the first state here our own; at rest, as its machine may not go on."""
        header = received.header.anew(os.urandom(BRANCH_SIZE), received.header)
        self.handover.record(at_rest(received.permanent, received.volatile).permanent(), header)
        self.handover.begun = "it came from another host"
        self.absent, self.resting = "", True
        with suppress(StorageError):  # so that no place says that there was never one
            self._stored.repeat()
        self._execution.report(
            "migration-in",
            f"generation {self._stored.generation}, epoch {header.epoch}, with its key "
            f"{header.dek_id.hex()}",
        )

    def _claim(self, connection: Connection | None) -> None:
        self.demand_present()
        if self.resting:
            self._stored.save(self._execution.permanent())
            self.resting = False
        if self.pending is None:
            self.handover.command(connection)
        elif speaks_for(connection, self.pending.owner):
            self.demand_back(self.pending.received.header)
            self.promote()
        else:
            raise HandedOverError("a restored state waits for who has brought it")

    def _left_behind(self) -> Pending | None:
        """What another process has received and not promoted, unless our own state is newer."""
        if self.awaits:
            return None
        try:
            received = self._stored.received()
        except (EnvelopeError, StorageError) as error:
            self._execution.report("state-damaged", f"received state: {error}")
            if isinstance(error, EnvelopeError) and error.kind in ("damaged", "truncated"):
                with suppress(StorageError):  # else it would be in the way of each rekey
                    self._stored.forget_received()
            return None
        if received is None:
            return None
        if not self._supersedes(received):
            with suppress(StorageError):
                self._stored.forget_received()
            return None
        return Pending(received, Connection(attached=True))

    def _supersedes(self, received: Received) -> bool:
        known = self._stored.header
        if self.handover.state == "away":
            return received.header.is_back(known)
        return received.header.supersedes(known)
