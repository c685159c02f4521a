"""Requests and reports about snapshots; part of `schema`."""

from datetime import datetime

from .base import Report, Request


class SnapshotRequest(Request):
    """The name of a new snapshot; the time it is made at, unless one is given."""

    label: str | None = None


class SnapshotRestoreRequest(Request):
    """Which snapshot to turn back to. `confirmed`: what was stored since may be lost."""

    snapshot: str
    confirmed: bool = False
    start: bool = False


class SnapshotDeleteRequest(Request):
    """Which snapshot to remove."""

    snapshot: str


class SnapshotInfo(Report):
    """One snapshot, with its size in octets; `reason`: why it can't be used, if that is so."""

    name: str
    created: datetime | None = None
    generation: int = 0
    epoch: int = 0
    size: int = 0
    reason: str = ""


class SnapshotList(Report):
    """The snapshots of one instance, by name."""

    snapshots: tuple[SnapshotInfo, ...]
