"""Who may go on with a TPM whose state has been read: `ours`, `lent`, `away`.

QEMU reads a TPM's state for a migration as well as for a snapshot or a saved machine, and does not
say what for. So state that was read is lent: this host may go on with it until another has, which
nobody here can see. An administrator who declares a migration makes it go away instead, for good.
The table is `STEPS`; what it does not name changes nothing.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from vtpmd.ipc.messages import EventKind, HandOverAct
from vtpmd.storage.header import BRANCH_SIZE, Handover, Header, stricter
from vtpmd.storage.sealed import SealedState
from vtpmd.swtpm.host import Connection

from .suspension import Lent, Links

DECLARED_SECONDS = 3600.0
"""How long a migration that was declared is waited for."""


class Happening(Enum):
    """What moves a TPM from one state of hand-over to the next."""

    READ = "its state is read (GET_STATEBLOB, up to savestate)"
    READ_FOR_MIGRATION = "its state is read, and a migration was declared"
    GOES_ON = "a guest command comes from who has read it"
    GOES_ON_ANEW = "a guest command comes from who has sent INIT since and had not read it"
    STRAY = "a guest command comes from anybody else"
    LOCK = "who has read it sends LOCK_STORAGE"
    INIT = "INIT comes without state blobs"
    DONE = "`vtpmctl migrate --done`"
    TAKE_BACK = "`vtpmctl take-back`"


@dataclass(frozen=True)
class Step:
    """The state that follows; `anew`: a new line of the TPM's life begins, in a new epoch."""

    to: Handover
    anew: bool = False


_LENT = "its state was read, for a snapshot or a migration, and who did that is not back yet"
AWAY = (
    "its state was handed over to another host; if that does not have it, `vtpmctl take-back` lets "
    "this one go on"
)
STEPS: Mapping[tuple[Happening, Handover], Step | str] = {
    (Happening.READ, "ours"): Step("lent"),
    (Happening.READ, "lent"): Step("lent"),
    (Happening.READ, "away"): AWAY,
    (Happening.READ_FOR_MIGRATION, "ours"): Step("away"),
    (Happening.READ_FOR_MIGRATION, "lent"): Step("away"),
    (Happening.READ_FOR_MIGRATION, "away"): AWAY,
    (Happening.GOES_ON, "lent"): Step("ours"),
    (Happening.GOES_ON, "away"): AWAY,
    (Happening.GOES_ON_ANEW, "lent"): Step("ours", anew=True),
    (Happening.GOES_ON_ANEW, "away"): AWAY,
    (Happening.STRAY, "lent"): _LENT,
    (Happening.STRAY, "away"): AWAY,
    (Happening.LOCK, "lent"): Step("ours"),
    (Happening.LOCK, "away"): Step("ours"),
    (Happening.INIT, "away"): AWAY,
    (Happening.DONE, "ours"): "its state is not lent, so nobody can have it: nothing was migrated",
    (Happening.DONE, "lent"): Step("away"),
    (Happening.TAKE_BACK, "lent"): Step("ours"),
    (Happening.TAKE_BACK, "away"): Step("ours", anew=True),
}
"""What follows in which state, or why it is refused."""
_BEGINNINGS = {
    Happening.GOES_ON_ANEW: "a machine was started anew while its state was lent",
    Happening.TAKE_BACK: "it was taken back",
}


class HandedOverError(Exception):
    """Refused, as this host may not go on with the TPM, or may not say that another does."""


def holder_of(connection: Connection) -> Connection | None:
    """Who brings something with a connection: QEMU as itself, a tool as any tool (None).

    A tool makes a connection for each message.
    """
    return connection if connection.attached else None


def speaks_for(connection: Connection | None, holder: Connection | None) -> bool:
    """Whether a data client is `holder`, or could be.

    `connection` is None for a client of the data listener. A holder without a data descriptor
    (None: any tool) uses that.
    """
    if holder is None:
        return connection is None or not connection.attached
    return connection is holder or (connection is None and not holder.attached)


class HandOver:
    """The state of hand-over, each change of it durable before it counts.

    `permanent` gives the permanent state to store with it: at rest, if that is asked for, so that a
    TPM which does not go on has not been cut off. `at_least` is what the supervisor remembers: the
    stricter of the two holds.
    """

    def __init__(
        self,
        stored: SealedState,
        permanent: Callable[[bool], bytes],
        report: Callable[[EventKind, str], None],
        at_least: Handover = "ours",
    ) -> None:
        self._stored = stored
        self._permanent = permanent
        self._report = report
        self.state = stricter(stored.header.handover, at_least)
        self.begun = ""
        """How the present epoch began, if it did in our time."""
        self._reader: Connection | None = None
        self._successor = False  # who has sent INIT since it was read had not read it
        self._declared_until: float | None = None

    def suspend(self, links: Links) -> Lent:
        """What a successor has to know of it."""
        until = self._declared_until if self.declared else None
        return Lent(
            self.state,
            self.begun,
            links.number(self._reader),
            self._successor,
            0 if until is None else int(until * 1000),
        )

    def resume(self, lent: Lent, links: Links) -> None:
        """Go on where a predecessor has suspended it. Raises EnvelopeError."""
        self.state = stricter(self._stored.header.handover, lent.state)
        self.begun = lent.begun
        self._reader, self._successor = links.at(lent.reader), lent.successor
        self._declared_until = lent.declared_until / 1000 if lent.declared_until else None

    @property
    def declared(self) -> bool:
        """Whether a migration was declared and is still waited for."""
        return self._declared_until is not None and time.monotonic() < self._declared_until

    def declare(self) -> None:
        """The next time the state is read, it goes away. Raises HandedOverError."""
        if self.state != "ours":
            raise HandedOverError(AWAY if self.state == "away" else _LENT)
        self._declared_until = time.monotonic() + DECLARED_SECONDS

    def cancel(self) -> None:
        """No migration is waited for any more."""
        self._declared_until = None

    def change(self, act: HandOverAct, epoch: int = 0) -> None:
        """What an administrator asks for; `epoch`: the newest that is known of.

        Raises HandedOverError, StorageError, EnvelopeError.
        """
        match act:
            case "declare":
                self.declare()
            case "cancel":
                self.cancel()
            case "done":
                self.happen(Happening.DONE)
            case "take-back":
                self.happen(Happening.TAKE_BACK)
            case "begin":
                self._begin(epoch)

    def read(self, connection: Connection) -> None:
        """Somebody has got the whole state. Raises HandedOverError, StorageError."""
        self.happen(Happening.READ_FOR_MIGRATION if self.declared else Happening.READ)
        self._reader = connection
        self.cancel()

    def command(self, connection: Connection | None) -> None:
        """A command of a guest is to be executed. Raises HandedOverError, StorageError."""
        if self._successor:
            self.happen(Happening.GOES_ON_ANEW)
        elif self._reader is not None and speaks_for(connection, self._reader):
            self.happen(Happening.GOES_ON)
        else:
            self.happen(Happening.STRAY)

    def lock(self, connection: Connection) -> None:
        """LOCK_STORAGE: after a snapshot, or a migration that failed. Raises as `command`."""
        self.cancel()
        if connection is self._reader:
            self.happen(Happening.GOES_ON_ANEW if self._successor else Happening.LOCK)
        elif self.state == "away":
            raise HandedOverError(AWAY)

    def init(self, connection: Connection) -> None:
        """INIT without blobs. Raises HandedOverError."""
        self.happen(Happening.INIT)
        self.cancel()
        if connection is not self._reader:
            self._reader, self._successor = None, self.state == "lent"

    def disconnected(self, connection: Connection) -> None:
        """This connection is gone, and whatever it might have come back for."""
        if connection is self._reader:
            self._reader = None

    def happen(self, happening: Happening) -> None:
        """Make the step that the table has. Raises HandedOverError, StorageError."""
        step = STEPS.get((happening, self.state))
        if isinstance(step, str):
            raise HandedOverError(step)
        if step is None or step == Step(self.state):
            return
        header = self._stored.header
        if step.anew:
            header = header.anew(os.urandom(BRANCH_SIZE), header)
        self.record(self._permanent(step.to != "ours"), replace(header, handover=step.to))
        self._tell(happening, step)

    def record(self, permanent: bytes, header: Header) -> None:
        """Store that from now on this header holds. Raises StorageError."""
        self._stored.save(permanent, header)
        self.state = header.handover
        if self.state == "ours":
            self._reader, self._successor = None, False

    def _begin(self, epoch: int) -> None:
        """Let stored state go on in a new line after this `epoch`; whose it is does not change.

        What was received and is newer goes on in its place, in a new line of its own.
        """
        if self._stored.newer_waits:
            return
        known = replace(self._stored.header, epoch=max(epoch, self._stored.header.epoch))
        header = self._stored.header.anew(os.urandom(BRANCH_SIZE), known)
        self.record(self._permanent(False), replace(header, handover=self.state))

    def _tell(self, happening: Happening, step: Step) -> None:
        where = f"generation {self._stored.generation}, epoch {self._stored.header.epoch}"
        if step.anew:
            self.begun = _BEGINNINGS[happening]
        if step.to == "ours":
            kind: EventKind = "begun-anew" if step.anew else "taken-back"
            self._report(kind, f"{where}: {_BEGINNINGS.get(happening, happening.value)}")
        else:
            self._report("migration-out", f"{step.to}, {where}")
