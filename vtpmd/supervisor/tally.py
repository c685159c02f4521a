"""What is counted of one instance, in its own sum and in the daemon's metrics."""

from typing import Final, get_args

from vtpmd.ipc.events import EventKind
from vtpmd.ipc.tally import LATENCY_BOUNDS, RESPONSE_CLASSES
from vtpmd.telemetry.metrics import Metrics

from .counts import Counts
from .states import Cause
from .worker import Worker

_BOUNDS: Final = tuple(bound / 1e6 for bound in LATENCY_BOUNDS)
_KINDS: Final = frozenset(get_args(EventKind))
_UNKNOWN: Final = "unknown"


class Tally:
    """`counts`: of all commands of its workers since this daemon knows it."""

    __slots__ = ("_last", "_metrics", "_of", "_profile", "counts")

    def __init__(self, metrics: Metrics, profile: str) -> None:
        self.counts = Counts()
        self._metrics = metrics
        self._profile = profile.split(" ")[0]  # of restrictions there is no end
        self._of: Worker | None = None
        self._last = Counts()

    def take(self, worker: Worker | None) -> None:
        """Add what this worker has said last, if that was not added yet."""
        if worker is None or worker.counts is None or worker.counts is self._last:
            return
        if worker is not self._of:
            self._of = worker
            self._last = Counts() if worker.fresh else worker.counts
        added, self._last = worker.counts.since(self._last), worker.counts
        self.counts += added
        for name, count in zip(RESPONSE_CLASSES, added.responses, strict=True):
            self._metrics.count("tpm_responses", self._profile, name, by=count)
        self._metrics.count("nv_writes", self._profile, by=added.nv_writes)
        latencies = self._metrics.histogram("tpm_command_seconds", self._profile, _BOUNDS)
        latencies.add(added.latencies, added.busy / 1e6)


def count_event(metrics: Metrics, kind: str) -> None:
    """Count what a worker has reported."""
    metrics.count("worker_events", kind if kind in _KINDS else _UNKNOWN)


def count_transition(metrics: Metrics, cause: Cause) -> None:
    """Count what happened to an instance."""
    metrics.count("transitions", _word(cause))


def begin(metrics: Metrics) -> None:
    """Begin to count from nothing: what only appears with its first count has no rate."""
    for kind in _KINDS:
        metrics.count("worker_events", kind, by=0)
    for cause in Cause:
        metrics.count("transitions", _word(cause), by=0)


def _word(cause: Cause) -> str:
    return cause.name.lower().replace("_", "-")
