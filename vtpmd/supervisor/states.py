"""The states of an instance and what moves it from one to the next."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum

from vtpmd.api.names import FAILED, LOCKED, RUNNING, STOPPED


class Trigger(Enum):
    """What happened to an instance."""

    READY = "a worker serves it"
    KEY_UNAVAILABLE = "its key could not be had"
    REFUSED = "its stored state, or the host, did not let it start"
    CRASHED = "its worker ended unasked"
    STOP = "someone stopped it"
    UNLOCKED = "its key is there again, and nobody wants it served"


TRANSITIONS: dict[tuple[str, Trigger], str] = {
    (STOPPED, Trigger.READY): RUNNING,
    (STOPPED, Trigger.KEY_UNAVAILABLE): LOCKED,
    (STOPPED, Trigger.REFUSED): FAILED,
    (LOCKED, Trigger.READY): RUNNING,
    (LOCKED, Trigger.KEY_UNAVAILABLE): LOCKED,
    (LOCKED, Trigger.REFUSED): FAILED,
    (LOCKED, Trigger.STOP): STOPPED,
    (LOCKED, Trigger.UNLOCKED): STOPPED,
    (FAILED, Trigger.READY): RUNNING,
    (FAILED, Trigger.KEY_UNAVAILABLE): LOCKED,
    (FAILED, Trigger.REFUSED): FAILED,
    (FAILED, Trigger.STOP): STOPPED,
    (RUNNING, Trigger.CRASHED): FAILED,
    (RUNNING, Trigger.STOP): STOPPED,
}


@dataclass(frozen=True)
class Condition:
    """The state of an instance, why it is so in words, and since when (UTC)."""

    state: str
    reason: str
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    def after(self, trigger: Trigger, reason: str) -> "Condition":
        """The condition that follows. KeyError for a transition that cannot happen."""
        return Condition(TRANSITIONS[self.state, trigger], reason)
