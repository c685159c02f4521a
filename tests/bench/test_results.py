"""Rounds become rows, rows a file, and a file a run again."""

from pathlib import Path

import pytest

from tests.bench import results
from tests.bench.results import ReadError, Row, Run, Samples

WRITTEN = """{"version": 1, "machine": {"CPU": "2 x Z80"}, "latency": {"one CPU": {"Hash": {
    "vtpmd": {"median": 3.0, "p99": 9.0, "cpu": null, "samples": 4, "rounds": [3.0]},
    "swtpm": {"median": 2.0, "p99": 4.0, "cpu": 1.5, "samples": 4, "rounds": [2.0]}}}},
 "idle": {"list, ms": {"vtpmd": 1.25}}, "geometric_mean": {"one CPU": 1.5}}"""
HASH = {"vtpmd": Row(3.0, 9.0, None, 4, [3.0]), "swtpm": Row(2.0, 4.0, 1.5, 4, [2.0])}
READ = Run({"CPU": "2 x Z80"}, {"one CPU": {"Hash": HASH}}, {"list, ms": {"vtpmd": 1.25}})
READ.geometric_mean["one CPU"] = 1.5


def test_a_row_is_made_of_medians_of_rounds() -> None:
    rounds = [
        Samples([0.001, 0.002, 0.009], 0.006),
        Samples([0.004, 0.005, 0.006], 0.012),
        Samples([0.1, 0.2, 0.3], 0.9),
    ]
    made = results.row(rounds)
    assert (made.median, made.p99, made.samples) == (5.0, 9.0, 9)
    assert made.rounds == [2.0, 5.0, 200.0]
    assert made.cpu == 4.0  # milliseconds of one step
    assert results.row([Samples([0.001])]).cpu is None


def test_the_geometric_mean_is_of_rows_that_both_have() -> None:
    def ms(median: float) -> Row:
        return Row(median, 0.0, None, 1)

    rows = {
        "a": {"vtpmd": ms(1.0), "swtpm": ms(2.0)},
        "b": {"vtpmd": ms(8.0), "swtpm": ms(1.0)},
        "c": {"vtpmd": ms(8.0)},
        "boot": {"vtpmd": ms(9.0), "swtpm": ms(1.0)},
    }
    relations = results.ratios(rows, ["a", "b", "c", "d"])
    assert relations == [0.5, 8.0]
    assert results.geometric_mean(relations) == pytest.approx(2.0)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(WRITTEN)
    assert results.read(file) == READ
    file.write_text(results.written(READ))
    assert results.read(file) == READ


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"version": 2}', WRITTEN.replace('"p99"', '"p98"'), WRITTEN[:-1]],
)
def test_other_files_are_refused_by_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(content)
    with pytest.raises(ReadError, match=r"run\.json"):
        results.read(file)
    with pytest.raises(ReadError, match="nowhere"):
        results.read(tmp_path / "nowhere")


def test_an_earlier_run_stands_beside_what_was_measured_now() -> None:
    run = Run(
        latency={"one CPU": {"Hash": {"vtpmd": Row(1.0, 1.0, 1.0, 1)}, "Quote": {}}},
        idle={"list, ms": {"vtpmd": 1.0}},
    )
    results.compare(run, READ)
    assert run.latency["one CPU"]["Hash"]["before"] == HASH["vtpmd"]
    assert run.latency["one CPU"]["Quote"] == {}
    assert run.idle == {"list, ms": {"vtpmd": 1.0, "before": 1.25}}
    assert results.hosts_of(run.idle) == ["vtpmd", "before"]
