"""The results as plots: a line for each row, a mark for each host, on a logarithmic scale."""

import math
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from tests.bench.results import BEFORE, OURS, PEER, Rows, Run, hosts_of

Numbers = Mapping[str, Mapping[str, float]]
"""Name of the row to host to number."""

_NAMES, _PLOT, _RATIO, _LINE, _TOP = 250, 600, 90, 22, 70
_COLOURS = {OURS: "#0060a8", PEER: "#d05000", BEFORE: "#7fb0d8"}
_SHOWN = {OURS: "vtpmd", PEER: "swtpm", BEFORE: "vtpmd before"}
_STYLE = "text{font:12px sans-serif;fill:#222}.scale{fill:#666}.title{font-size:15px}"


def plot(title: str, numbers: Numbers) -> str:
    """An SVG. At a line's end is vtpmd's number in relation to swtpm's; what is 0 has no mark."""
    rows = {name: {h: v for h, v in row.items() if v > 0} for name, row in numbers.items()}
    rows = {name: row for name, row in rows.items() if row}
    values = [value for row in rows.values() for value in row.values()] or [1.0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    width, height = _NAMES + _PLOT + _RATIO, _TOP + _LINE * len(rows) + 15

    def x(value: float) -> float:
        return _NAMES + _PLOT * (math.log10(value) - low) / (high - low)

    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}">',
            f"<style>{_STYLE}</style>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            f'<text class="title" x="10" y="20">{escape(title)}</text>',
            *_legend(hosts_of(rows)),
            *_scale([(10.0**power, x(10.0**power)) for power in range(low, high + 1)], height),
            *(
                line
                for at, (name, row) in enumerate(rows.items())
                for line in _row(name, row, {h: x(v) for h, v in row.items()}, _TOP + _LINE * at)
            ),
            "</svg>",
            "",
        ]
    )


def _mark(host: str, x: float, y: float) -> str:
    shown = f"<title>{_SHOWN[host]}</title>"
    if host == PEER:
        corners = f"{x:.1f},{y - 6:.1f} {x + 6:.1f},{y:.1f} {x:.1f},{y + 6:.1f} {x - 6:.1f},{y:.1f}"
        return f'<polygon points="{corners}" fill="{_COLOURS[host]}">{shown}</polygon>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{_COLOURS[host]}">{shown}</circle>'


def _legend(hosts: list[str]) -> Iterator[str]:
    for at, host in enumerate(hosts):
        x = _NAMES + 120 * at
        yield _mark(host, x, 36)
        yield f'<text x="{x + 10}" y="40">{_SHOWN[host]}</text>'


def _scale(ticks: list[tuple[float, float]], height: int) -> Iterator[str]:
    for value, x in ticks:
        yield f'<path d="M{x:.1f} {_TOP - 8}V{height - 8}" stroke="#ddd"/>'
        at = f'x="{x:.1f}" y="{_TOP - 12}" text-anchor="middle"'
        yield f'<text class="scale" {at}>{value:g}</text>'


def _row(name: str, row: Mapping[str, float], xs: Mapping[str, float], top: float) -> Iterator[str]:
    y = top + _LINE / 2
    yield f'<text x="{_NAMES - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>'
    yield f'<path d="M{min(xs.values()):.1f} {y}H{max(xs.values()):.1f}" stroke="#999"/>'
    for host in (PEER, BEFORE, OURS):  # ours on top
        if host in xs:
            yield _mark(host, xs[host], y)
    if OURS in row and PEER in row:
        ratio = f"{row[OURS] / row[PEER]:.2f}"
        yield f'<text x="{_NAMES + _PLOT + 20}" y="{y + 4}">{ratio} x</text>'


def _medians(rows: Rows) -> Numbers:
    return {name: {h: found.median for h, found in row.items()} for name, row in rows.items()}


def _cpu(rows: Rows) -> Numbers:
    return {name: {h: found.cpu or 0.0 for h, found in row.items()} for name, row in rows.items()}


def write(run: Run, directory: Path) -> None:
    """Latency and CPU time for each placement, and idle TPMs: a file each."""
    directory.mkdir(parents=True, exist_ok=True)
    for placement, rows in run.latency.items():
        name = placement.replace(" ", "-")
        plots = {"latency": _medians(rows), "cpu": _cpu(rows)}
        titles = {"latency": "Milliseconds", "cpu": "The server's CPU time, milliseconds"}
        for what, numbers in plots.items():
            title = f"{titles[what]}, median, {placement}"
            (directory / f"{what}-{name}.svg").write_text(plot(title, numbers))
    if run.idle:
        (directory / "idle.svg").write_text(plot("Idle TPMs", run.idle))
