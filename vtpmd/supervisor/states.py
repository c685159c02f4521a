"""The states of an instance: the transitions, and what each state refuses."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum

from vtpmd.api import problems
from vtpmd.api.names import AWAY, FAILED, INCOMING, LENT, LOCKED, OURS, RUNNING, STOPPED
from vtpmd.api.problems import OperationError, Problem


class Cause(Enum):
    """What happened to an instance."""

    READY = "a worker serves it"
    AWAITED = "a worker waits for its TPM, which is to come from another host"
    ASLEEP = "nobody uses it, so that no worker serves it"
    AWAKE = "a worker serves it again, as somebody uses it"
    KEY_UNAVAILABLE = "its key could not be had"
    REFUSED = "its stored state, or the host, did not let it start"
    CRASHED = "its worker ended unasked"
    STOP = "someone stopped it"
    UNLOCKED = "its key is there again, and nobody wants it served"


TRANSITIONS: dict[tuple[str, Cause], str] = {
    (STOPPED, Cause.READY): RUNNING,
    (STOPPED, Cause.AWAITED): INCOMING,
    (STOPPED, Cause.ASLEEP): RUNNING,
    (STOPPED, Cause.KEY_UNAVAILABLE): LOCKED,
    (STOPPED, Cause.REFUSED): FAILED,
    (LOCKED, Cause.READY): RUNNING,
    (LOCKED, Cause.AWAITED): INCOMING,
    (LOCKED, Cause.ASLEEP): RUNNING,
    (LOCKED, Cause.KEY_UNAVAILABLE): LOCKED,
    (LOCKED, Cause.REFUSED): FAILED,
    (LOCKED, Cause.STOP): STOPPED,
    (LOCKED, Cause.UNLOCKED): STOPPED,
    (FAILED, Cause.READY): RUNNING,
    (FAILED, Cause.AWAITED): INCOMING,
    (FAILED, Cause.ASLEEP): RUNNING,
    (FAILED, Cause.KEY_UNAVAILABLE): LOCKED,
    (FAILED, Cause.REFUSED): FAILED,
    (FAILED, Cause.STOP): STOPPED,
    (RUNNING, Cause.ASLEEP): RUNNING,
    (RUNNING, Cause.AWAKE): RUNNING,
    (RUNNING, Cause.CRASHED): FAILED,
    (RUNNING, Cause.STOP): STOPPED,
    (INCOMING, Cause.READY): RUNNING,
    (INCOMING, Cause.AWAITED): INCOMING,
    (INCOMING, Cause.CRASHED): FAILED,
    (INCOMING, Cause.STOP): STOPPED,
}
SERVED = frozenset({RUNNING, INCOMING})
"""The states in which a worker is there for its clients."""


class Act(Enum):
    """What can be done with an instance; the value is the participle for messages."""

    START = "started"
    STOP = "stopped"
    END = "stopped by force"
    UNLOCK = "unlocked"
    DELETE = "deleted"
    REPLACE = "replaced by a backup"
    BACK_UP = "backed up"
    SNAPSHOT = "put into a snapshot"
    CLONE = "cloned"
    REKEY = "rekeyed"
    MIGRATE = "migrated"
    CANCEL = "kept here"
    TICKET = "given a ticket"
    RECEIVE = "received"
    MIGRATED = "marked as migrated"
    TAKE_BACK = "taken back"
    ACCEPT = "accepted as it is stored"
    MOVE = "given other sockets"
    SET = "changed"
    IDENTIFY = "asked for requests"
    CERTIFY = "given certificates"
    RESET_LOCKOUT = "let out of lockout"
    READ_PCRS = "asked for its PCR values"
    UPGRADE = "upgraded"


# Further conditions that restrict what can be done, whatever the state is: these, INCOMING for one
# whose TPM is still to come also while nothing waits for it, and the states of hand-over.
GONE = "gone"  # deleted or replaced: whoever waited for that finds nothing
UNREADABLE = "unreadable"  # its metadata cannot be read: it is never started
STARTING = "starting"  # an attempt to serve it goes on, or the next one is waited for
WAITING = "waiting"  # the same, for its key
USED = "in use"  # a machine has attached a data descriptor


def _each(acts: Iterable[Act], problem: Problem) -> dict[Act, Problem]:
    return dict.fromkeys(acts, problem)


_HAND_OVER = (Act.MIGRATE, Act.CANCEL, Act.MIGRATED)
_CHANGES = (Act.IDENTIFY, Act.CERTIFY, Act.RESET_LOCKOUT)
_STORED = (
    Act.BACK_UP,
    Act.SNAPSHOT,
    Act.TICKET,
    Act.CLONE,
    Act.REKEY,
    Act.ACCEPT,
    Act.UPGRADE,
    *_HAND_OVER,
    *_CHANGES,
)
_SETTLED = (
    *(Act.MOVE, Act.RECEIVE, Act.CLONE, Act.REKEY, Act.UPGRADE, Act.TAKE_BACK),
    *(*_HAND_OVER, *_CHANGES),
)
_LIVE = (Act.READ_PCRS, Act.MIGRATE, Act.RECEIVE, Act.UPGRADE)
REFUSALS: dict[str, dict[Act, Problem]] = {
    GONE: _each(Act, problems.NOT_FOUND),
    UNREADABLE: _each(
        (Act.START, Act.SET, Act.MOVE, Act.RECEIVE, *_STORED), problems.STATE_REFUSED
    ),
    STARTING: _each(_SETTLED, problems.UNAVAILABLE),
    WAITING: _each(_SETTLED, problems.KEY_UNAVAILABLE),
    STOPPED: _each(_LIVE, problems.NOT_RUNNING),
    LOCKED: _each(_LIVE, problems.NOT_RUNNING),
    FAILED: _each(_LIVE, problems.NOT_RUNNING),
    RUNNING: _each((Act.DELETE, Act.REPLACE, Act.MOVE), problems.RUNNING_CONFLICT),
    INCOMING: _each((*_STORED, Act.READ_PCRS, Act.MOVE), problems.STILL_TO_COME),
    USED: _each((Act.STOP,), problems.IN_USE),
    LENT: _each((Act.MIGRATE,), problems.HANDED_OVER),
    AWAY: _each(
        (
            *(Act.BACK_UP, Act.SNAPSHOT, Act.CLONE, Act.REKEY, Act.MIGRATE, Act.CERTIFY),
            Act.RESET_LOCKOUT,
        ),
        problems.HANDED_OVER,
    ),
}
"""Which acts are refused in which state or condition, and as which problem.

The hand-over is what the daemon has noted of it; the worker, which knows it best, judges once more.
"""


EXPLANATIONS = {
    INCOMING: "its TPM is still to come from another host",
    LENT: "its state was read, for a snapshot or a migration, and who did that is not back yet",
    AWAY: "its state was handed over to another host",
}
"""Why further conditions restrict what can be done, for people."""


def user(machine: int) -> str:
    """The process behind a TPM, which has no number here if it is in another namespace."""
    return f"QEMU (pid {machine})" if machine > 0 else "QEMU"


def in_use(machine: int) -> str:
    """Why what a machine uses is not stopped, and what its guest would see of that."""
    return (
        f"it is in use by {user(machine)}, whose guest would get errors from its TPM until the "
        "machine is shut down and started anew"
    )


@dataclass(frozen=True)
class Condition:
    """The state of an instance, why it is so in words, and since when (UTC)."""

    state: str
    reason: str
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    def after(self, cause: Cause, reason: str) -> "Condition":
        """The condition that follows. KeyError for a transition that cannot happen.

        Who stays in a state is in it since he was, whatever the reason is now.
        """
        state = TRANSITIONS[self.state, cause]
        if state == self.state:
            return replace(self, reason=reason)
        return Condition(state, reason)


@dataclass(frozen=True)
class Standing:
    """All that restricts what can be done with an instance now.

    `gone`: what became of it; `fault`: why its metadata can't be read; `attempting`: to serve it is
    being tried; `incoming`: its TPM is still to come; `handover`: whose it is, as far as is known;
    `machine`: the process that uses it, 0: none.
    """

    condition: Condition
    gone: Act | None = None
    fault: str | None = None
    attempting: bool = False
    incoming: bool = False
    handover: str = OURS
    machine: int = 0

    def demand(self, act: Act, name: str) -> None:
        """Raise OperationError unless everything permits this act with the instance `name`."""
        for row, explanation in self._rows(act, name):
            if problem := REFUSALS[row].get(act):
                raise OperationError(problem, f"{explanation}.")

    def _rows(self, act: Act, name: str) -> Iterator[tuple[str, str]]:
        """The rows of `REFUSALS` that apply, each with the text for a refusal."""
        state = self.condition.state
        if self.gone is not None:
            yield GONE, f"{name} was {self.gone.value}"
        if self.fault is not None:
            yield UNREADABLE, self.fault
        if self.incoming:
            yield INCOMING, f"{name} cannot be {act.value}: {EXPLANATIONS[INCOMING]}"
        why = f"{name} cannot be {act.value} while it is {state}: {self.condition.reason}"
        if self.attempting:
            yield (WAITING if state == LOCKED else STARTING), why
        yield state, why
        if self.machine:
            yield USED, f"{name} cannot be {act.value}: {in_use(self.machine)}"
        if self.handover != OURS:
            yield self.handover, f"{name} cannot be {act.value}: {EXPLANATIONS[self.handover]}"
