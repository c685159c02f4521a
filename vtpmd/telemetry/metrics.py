"""Metrics in Prometheus' text format. No label has more values than a configuration can name.

What the daemon counts is kept here; what is as it is at a moment is given to `exposition`.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
KEY_BOUNDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the times that uses of a key take, in seconds."""


@dataclass
class Histogram:
    """How many were within each of `bounds` (seconds) and beyond the last, and their sum."""

    bounds: Sequence[float]
    counts: list[int] = field(init=False)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def add(self, counts: Iterable[int], total: float) -> None:
        """Count many that were counted by somebody else under the same bounds."""
        self.counts = [old + new for old, new in zip(self.counts, counts, strict=True)]
        self.sum += total

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus has them."""
        reached, found = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            reached += count
            found.append((bound, float(reached)))
        return found


class Metrics:
    """All that this daemon has counted since it started, by name without the prefix."""

    def __init__(self) -> None:
        self._counters: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in COUNTERS}
        self._histograms: dict[str, dict[str, Histogram]] = {name: {} for name in HISTOGRAMS}

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to one of COUNTERS."""
        self._counters[name][labels] += by  # type: ignore[assignment]

    def histogram(self, name: str, label: str, bounds: Sequence[float]) -> Histogram:
        """One of HISTOGRAMS, for this value of its label."""
        return self._histograms[name].setdefault(label, Histogram(bounds))

    def exposition(self, gauges: Sequence["Gauge"]) -> bytes:
        """All of it, and what is so just now, as text."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Snapshot(self._families(gauges)))
        return generate_latest(registry)

    def _families(self, gauges: Sequence["Gauge"]) -> Iterator[Metric]:
        for name, (text, labels) in COUNTERS.items():
            counter = CounterMetricFamily(f"{PREFIX}{name}", text, labels=labels)
            for values, count in sorted(self._counters[name].items()):
                counter.add_metric(values, count)
            yield counter
        for name, (text, label) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(f"{PREFIX}{name}", text, labels=[label])
            for value, each in sorted(self._histograms[name].items()):
                histogram.add_metric([value], each.buckets, each.sum)
            yield histogram
        for gauge in gauges:
            family = GaugeMetricFamily(f"{PREFIX}{gauge.name}", gauge.text, labels=gauge.labels)
            for values, number in sorted(gauge.values.items()):
                family.add_metric(values, number)
            yield family


@dataclass(frozen=True)
class Gauge:
    """Something as it is at a moment, by the values of its labels."""

    name: str
    text: str
    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], float]


class _Snapshot(Collector):
    def __init__(self, families: Iterator[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return self._families


PREFIX: Final = "vtpmd_"
COUNTERS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "tpm_responses": ("TPM commands answered, by class of response code.", ("profile", "class")),
    "nv_writes": ("Times that the permanent state of a TPM was stored.", ("profile",)),
    "worker_events": ("What workers have reported.", ("kind",)),
    "transitions": ("What happened to instances.", ("cause",)),
    "key_uses": (
        "Uses of key encryption keys.",
        ("provider", "operation", "outcome"),
    ),
}
"""What is counted: name, help, labels."""
HISTOGRAMS: Final[Mapping[str, tuple[str, str]]] = {
    "tpm_command_seconds": ("Time from a TPM command to its answer.", "profile"),
    "key_use_seconds": ("Time that a use of a key encryption key took.", "provider"),
}
"""What is measured: name, help, label."""
