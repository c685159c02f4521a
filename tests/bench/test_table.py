"""The table for people."""

from tests.bench.results import Row, Run
from tests.bench.table import table


def _cells(run: Run) -> list[list[str]]:
    return [line.split() for line in table(run) if line]


def test_ratios_are_of_ours_to_each_other() -> None:
    row = {
        "vtpmd": Row(3.0, 1234.5, 0.5, 9),
        "swtpm": Row(2.0, 0.012346, 0.25, 9),
        "before": Row(6.0, 7.0, None, 9),
    }
    run = Run(latency={"one CPU": {"Hash": row}}, geometric_mean={"one CPU": 1.5})
    place, heads, hash_row, mean = _cells(run)
    assert place == ["one", "CPU"]
    assert heads[::2][:3] == ["vtpmd", "swtpm", "before"]
    times, cpu, p99 = hash_row[1:6], hash_row[6:11], hash_row[11:]
    assert times == ["3", "2", "6", "1.50", "0.50"]
    assert cpu == ["0.5", "0.25", "-", "2.00", "-"]
    assert p99 == ["1234", "0.01235", "7"]
    assert "1.500" in mean


def test_what_a_host_has_not_is_a_dash() -> None:
    run = Run(idle={"list, ms": {"vtpmd": 4.0}, "PSS": {"vtpmd": 1.0, "swtpm": 2.0}})
    heads, listing, pss = _cells(run)
    assert heads == ["idle", "vtpmd", "swtpm", "/swtpm"]
    assert listing[2:] == ["4", "-", "-"]
    assert pss[1:] == ["1", "2", "0.50"]
