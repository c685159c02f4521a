"""What happens to an instance, counted and told in the journal of the host."""

from vtpmd.api.names import FAILED, LOCKED
from vtpmd.ipc.messages import ALARMS, STORAGE, Event

from .host import Host
from .journal import Severity
from .metadata import Metadata
from .states import Cause, Condition
from .tally import count_event, count_transition

_STATES: dict[str, Severity] = {FAILED: "error", LOCKED: "warning"}


def note_state(host: Host, metadata: Metadata, condition: Condition, cause: Cause) -> None:
    """It has come to this state."""
    count_transition(host.metrics, cause)
    severity = _STATES.get(condition.state, "info")
    host.journal.note(metadata, severity, "state", f"{condition.state}: {condition.reason}")


def note_event(host: Host, metadata: Metadata, event: Event) -> None:
    """Its worker has reported something, within its quota."""
    count_event(host.metrics, event.kind)
    severity: Severity = "error" if event.kind in ALARMS else "info"
    severity = "warning" if event.kind in STORAGE else severity
    host.journal.note(metadata, severity, event.kind, event.detail)
