"""What requests and reports have in common; `schema` has the rules for both."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """Base of what clients ask for."""


@dataclass(frozen=True)
class Report:
    """Base of what the daemon answers.

    `document`: all that a daemon has sent, fields included that are unknown here; empty in a
    report that was not received.
    """

    document: dict[str, object] = field(
        init=False, repr=False, compare=False, default_factory=dict, kw_only=True
    )
