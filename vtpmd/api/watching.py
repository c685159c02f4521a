"""What the admin interface asks and answers about what happens on a host."""

from datetime import datetime
from uuid import UUID

from .base import Report, Request

MAX_WAIT = 30
"""Seconds for which the daemon waits at most for an event that has not happened."""


class EventsRequest(Request):
    """Events `after` that number, of one `instance` (name or UUID) or all.

    `wait`: for how many seconds at most, if there is none yet.
    """

    after: int = 0
    instance: str | None = None
    wait: int = 0


class EventInfo(Report):
    """Something that happened to an instance. `number` grows; `severity` is "info" to "error".

    `kind`: "state" when it came to another, or what its worker reported.
    """

    number: int
    time: datetime
    severity: str
    instance: str
    uuid: UUID
    kind: str
    detail: str


class EventList(Report):
    """The newest that are remembered. `last`: the number to ask after next."""

    events: tuple[EventInfo, ...]
    last: int


class InstanceUsage(Report):
    """How much an instance is used, in all since this daemon knows it.

    `refused`: commands not answered with success; `busy`: microseconds for all of them; `stored`:
    how often its state was; `memory`: octets that are its worker's own.
    """

    name: str
    uuid: UUID
    state: str
    asleep: bool
    commands: int
    refused: int
    busy: int
    stored: int
    memory: int


class UsageList(Report):
    """All instances by name; `clock`: of the daemon in milliseconds, to make rates of two lists."""

    clock: int
    instances: tuple[InstanceUsage, ...]
