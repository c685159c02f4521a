"""The states of an instance: the transitions, and what each state refuses."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum

from vtpmd.api import problems
from vtpmd.api.names import FAILED, LOCKED, RUNNING, STOPPED
from vtpmd.api.problems import Problem


class Cause(Enum):
    """What happened to an instance."""

    READY = "a worker serves it"
    ASLEEP = "nobody uses it, so that no worker serves it"
    AWAKE = "a worker serves it again, as somebody uses it"
    KEY_UNAVAILABLE = "its key could not be had"
    REFUSED = "its stored state, or the host, did not let it start"
    CRASHED = "its worker ended unasked"
    STOP = "someone stopped it"
    UNLOCKED = "its key is there again, and nobody wants it served"


TRANSITIONS: dict[tuple[str, Cause], str] = {
    (STOPPED, Cause.READY): RUNNING,
    (STOPPED, Cause.ASLEEP): RUNNING,
    (STOPPED, Cause.KEY_UNAVAILABLE): LOCKED,
    (STOPPED, Cause.REFUSED): FAILED,
    (LOCKED, Cause.READY): RUNNING,
    (LOCKED, Cause.ASLEEP): RUNNING,
    (LOCKED, Cause.KEY_UNAVAILABLE): LOCKED,
    (LOCKED, Cause.REFUSED): FAILED,
    (LOCKED, Cause.STOP): STOPPED,
    (LOCKED, Cause.UNLOCKED): STOPPED,
    (FAILED, Cause.READY): RUNNING,
    (FAILED, Cause.ASLEEP): RUNNING,
    (FAILED, Cause.KEY_UNAVAILABLE): LOCKED,
    (FAILED, Cause.REFUSED): FAILED,
    (FAILED, Cause.STOP): STOPPED,
    (RUNNING, Cause.ASLEEP): RUNNING,
    (RUNNING, Cause.AWAKE): RUNNING,
    (RUNNING, Cause.CRASHED): FAILED,
    (RUNNING, Cause.STOP): STOPPED,
}


class Act(Enum):
    """What can be done with an instance; the value is the participle for messages."""

    START = "started"
    STOP = "stopped"
    UNLOCK = "unlocked"
    DELETE = "deleted"
    REPLACE = "replaced by a backup"
    BACK_UP = "backed up"
    SNAPSHOT = "put into a snapshot"
    CLONE = "cloned"
    REKEY = "rekeyed"
    MIGRATE = "migrated"
    MIGRATED = "marked as migrated"
    TAKE_BACK = "taken back"
    ACCEPT = "accepted as it is stored"
    SET = "changed"
    IDENTIFY = "asked for requests"
    CERTIFY = "given certificates"
    READ_PCRS = "asked for its PCR values"
    UPGRADE = "upgraded"


# Further conditions that restrict what can be done, whatever the state is.
GONE = "gone"  # deleted or replaced: whoever waited for that finds nothing
UNREADABLE = "unreadable"  # its metadata cannot be read: it is never started
STARTING = "starting"  # an attempt to serve it goes on, or the next one is waited for
WAITING = "waiting"  # the same, for its key


def _each(acts: Iterable[Act], problem: Problem) -> dict[Act, Problem]:
    return dict.fromkeys(acts, problem)


_HAND_OVER = (Act.MIGRATE, Act.MIGRATED, Act.TAKE_BACK)
_IDENTITY = (Act.IDENTIFY, Act.CERTIFY)
_SETTLED = (Act.CLONE, Act.REKEY, Act.UPGRADE, *_HAND_OVER, *_IDENTITY)
_SERVED = (Act.READ_PCRS, Act.MIGRATE, Act.UPGRADE)
REFUSALS: dict[str, dict[Act, Problem]] = {
    GONE: _each(Act, problems.NOT_FOUND),
    UNREADABLE: _each(
        (
            *(Act.START, Act.BACK_UP, Act.SNAPSHOT, Act.CLONE, Act.REKEY, Act.ACCEPT, Act.SET),
            Act.UPGRADE,
            *_HAND_OVER,
            *_IDENTITY,
        ),
        problems.STATE_REFUSED,
    ),
    STARTING: _each(_SETTLED, problems.UNAVAILABLE),
    WAITING: _each(_SETTLED, problems.KEY_UNAVAILABLE),
    STOPPED: _each(_SERVED, problems.NOT_RUNNING),
    LOCKED: _each(_SERVED, problems.NOT_RUNNING),
    FAILED: _each(_SERVED, problems.NOT_RUNNING),
    RUNNING: _each((Act.DELETE, Act.REPLACE), problems.RUNNING_CONFLICT),
}
"""Which acts are refused in which state or condition, and as which problem."""


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
