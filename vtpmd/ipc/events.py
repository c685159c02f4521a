"""What a worker reports unasked: the kinds of its events."""

from typing import Literal

EventKind = Literal[
    "client-connected",
    "client-disconnected",
    "client-refused",
    "octets-dropped",
    "descriptors-refused",
    "powered-on",
    "powered-off",
    "startup-refused",
    "shutdown",
    "storage-full",
    "storage-recovered",
    "storage-failing",
    "failure-mode",
    "state-refused",
    "write-interrupted",
    "state-damaged",
    "defect",
    "migration-out",
    "migration-in",
    "taken-back",
    "begun-anew",
    "keeper-lost",
    "events-suppressed",
]

ALARMS: frozenset[str] = frozenset(
    {
        "storage-full",
        "storage-failing",
        "failure-mode",
        "state-refused",
        "state-damaged",
        "defect",
        "begun-anew",
    }
)
"""Kinds of events that a person should look at."""

UNWANTED: frozenset[str] = frozenset({"client-refused", "octets-dropped", "descriptors-refused"})
"""Kinds of events that whoever may connect can bring about as often as he likes."""

STORAGE: frozenset[str] = frozenset({"storage-full", "storage-failing", "storage-recovered"})
"""Kinds of events after which a worker says something else of its storage."""

USES: frozenset[str] = frozenset({"client-connected", "client-disconnected"})
"""Kinds of events after which somebody else uses the TPM, or nobody does."""

HAND_OVERS: frozenset[str] = frozenset(
    {"migration-out", "migration-in", "taken-back", "begun-anew"}
)
"""Kinds of events after which the TPM's state of hand-over may be another one."""
