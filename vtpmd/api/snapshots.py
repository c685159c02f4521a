"""Requests and reports about snapshots; part of `schema`."""

from dataclasses import dataclass
from datetime import datetime

from .base import Report, Request


@dataclass(frozen=True, kw_only=True)
class SnapshotRequest(Request):
    """The name of a new snapshot; the time it is made at, unless one is given."""

    label: str | None = None


@dataclass(frozen=True, kw_only=True)
class SnapshotRestoreRequest(Request):
    """Which snapshot to turn back to. `confirmed`: what was stored since may be lost."""

    snapshot: str
    confirmed: bool = False
    start: bool = False


@dataclass(frozen=True, kw_only=True)
class SnapshotDeleteRequest(Request):
    """Which snapshot to remove."""

    snapshot: str


@dataclass(frozen=True, kw_only=True)
class SnapshotInfo(Report):
    """One snapshot, with its size in octets; `reason`: why it can't be used, if that is so."""

    name: str
    created: datetime | None = None
    generation: int = 0
    epoch: int = 0
    size: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class SnapshotList(Report):
    """The snapshots of one instance, by name."""

    snapshots: tuple[SnapshotInfo, ...]
