"""What was measured: samples of a round, a row of several rounds, a run, and the file of a run."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

OURS, PEER, BEFORE = "vtpmd", "swtpm", "before"
"""Hosts: this vtpmd, swtpm, and another vtpmd, or what an earlier run has measured of it."""
VERSION = 1
"""Of the file's form."""


class ReadError(Exception):
    """A file is no run that this version can read."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds."""

    median: float
    p99: float
    samples: int


def timing(seconds: list[float]) -> Timing:
    ordered = sorted(seconds)
    last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return Timing(statistics.median(ordered) * 1e3, last * 1e3, len(ordered))


@dataclass(frozen=True)
class Samples:
    """One round of one row: seconds of each step, and what the steps took of the server's CPUs."""

    seconds: list[float]
    cpu: float | None = None


@dataclass(frozen=True)
class Row:
    """Milliseconds, medians of rounds. `cpu`: the server's CPU time for one step."""

    median: float
    p99: float
    cpu: float | None
    samples: int
    rounds: list[float] = field(default_factory=list)


def row(rounds: Sequence[Samples]) -> Row:
    each = [timing(samples.seconds) for samples in rounds]
    cpu = [s.cpu / len(s.seconds) * 1e3 for s in rounds if s.cpu is not None]
    return Row(
        statistics.median(one.median for one in each),
        statistics.median(one.p99 for one in each),
        statistics.median(cpu) if cpu else None,
        sum(one.samples for one in each),
        [one.median for one in each],
    )


Rows = dict[str, dict[str, Row]]
"""Name of the row to host to what it took."""
Idle = dict[str, dict[str, float]]
"""The same for what is one number, in the unit that the name says."""


@dataclass
class Run:
    """`latency`: rows by placement; `idle`: many TPMs that nobody uses."""

    machine: dict[str, str] = field(default_factory=dict)
    latency: dict[str, Rows] = field(default_factory=dict)
    idle: Idle = field(default_factory=dict)
    geometric_mean: dict[str, float] = field(default_factory=dict)
    """By placement: vtpmd's medians of the commands in relation to swtpm's."""


def hosts_of(rows: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The hosts that have something in any row, in the order in which they are shown."""
    found = {host for results in rows.values() for host in results}
    return [host for host in (OURS, PEER, BEFORE) if host in found]


def compare(run: Run, before: Run) -> None:
    """Let what vtpmd took in an earlier run stand beside what it took in this one."""
    for placement, rows in run.latency.items():
        _beside(rows, before.latency.get(placement, {}))
    _beside(run.idle, before.idle)


def _beside(rows: dict[str, dict[str, T]], earlier: Mapping[str, Mapping[str, T]]) -> None:
    for name, results in rows.items():
        if OURS in earlier.get(name, {}):
            results[BEFORE] = earlier[name][OURS]


def geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(statistics.mean(map(math.log, ratios)))


def ratios(rows: Rows, names: Sequence[str]) -> list[float]:
    """vtpmd's medians in relation to swtpm's, for the rows of these names that both have."""
    both = [rows[name] for name in names if {OURS, PEER} <= rows.get(name, {}).keys()]
    return [found[OURS].median / found[PEER].median for found in both]


def written(run: Run) -> str:
    return json.dumps({"version": VERSION, **asdict(run)}, indent=1)


def read(path: Path) -> Run:
    """The run in a file. Raises ReadError."""
    try:
        content = json.loads(path.read_text())
        if content["version"] != VERSION:
            raise ReadError(f"{path}: version {content['version']}, not {VERSION}")
        return Run(
            content["machine"],
            {placement: _rows(rows) for placement, rows in content["latency"].items()},
            content["idle"],
            content["geometric_mean"],
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ReadError(f"{path}: {error}") from None


def _rows(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Rows:
    return {
        name: {host: Row(**found) for host, found in results.items()}
        for name, results in rows.items()
    }
