"""The results as a table for people."""

from collections.abc import Iterator

from tests.bench.results import OURS, PEER, Row, Rows, Run, hosts_of

_NAME, _CELL = 34, 11


def _line(cells: list[str]) -> str:
    return f"{cells[0]:{_NAME}}" + "".join(f"{cell:>{_CELL}}" for cell in cells[1:])


def _number(value: float | None) -> str:
    """Four digits, none behind the point from a thousand on."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _ratio(ours: float | None, theirs: float | None) -> str:
    return f"{ours / theirs:.2f}" if ours is not None and theirs else "-"


def _cells(values: dict[str, float | None], hosts: list[str]) -> list[str]:
    return [_number(values.get(host)) for host in hosts]


def _ratios(values: dict[str, float | None], hosts: list[str]) -> list[str]:
    """What is ours in relation to each other host's."""
    return [_ratio(values.get(OURS), values.get(host)) for host in hosts if host != OURS]


def _heads(hosts: list[str], what: str) -> list[str]:
    return [f"{host} {what}" for host in hosts]


def _ratio_heads(hosts: list[str]) -> list[str]:
    return [f"/{host}" for host in hosts if host != OURS]


def _column(results: dict[str, Row], name: str) -> dict[str, float | None]:
    return {host: getattr(row, name) for host, row in results.items()}


def table(run: Run) -> Iterator[str]:
    """Lines: the latency and the CPU time in milliseconds for each placement, then what is idle."""
    for placement, rows in run.latency.items():
        yield from ("", placement)
        yield from _latency(rows)
        if mean := run.geometric_mean.get(placement):
            yield f"geometric mean of the commands: {mean:.3f} times {PEER}"
    if run.idle:
        hosts = hosts_of(run.idle)
        yield from ("", _line(["idle", *hosts, *_ratio_heads(hosts)]))
        for name, numbers in run.idle.items():
            values: dict[str, float | None] = {**numbers}
            yield _line([name, *_cells(values, hosts), *_ratios(values, hosts)])


def _latency(rows: Rows) -> Iterator[str]:
    hosts = hosts_of(rows)
    heads = [*_heads(hosts, "ms"), *_ratio_heads(hosts), *_heads(hosts, "CPU")]
    yield _line(["", *heads, *_ratio_heads(hosts), *_heads(hosts, "p99")])
    for name, results in rows.items():
        medians, cpu, p99 = (_column(results, column) for column in ("median", "cpu", "p99"))
        times = [*_cells(medians, hosts), *_ratios(medians, hosts)]
        yield _line([name, *times, *_cells(cpu, hosts), *_ratios(cpu, hosts), *_cells(p99, hosts)])
