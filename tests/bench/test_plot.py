"""Plots are SVG that says what was measured."""

import re
from pathlib import Path
from xml.etree import ElementTree

from tests.bench.plot import plot, write
from tests.bench.results import Row, Run

SVG = "{http://www.w3.org/2000/svg}"


def _texts(root: ElementTree.Element) -> list[str]:
    return [found.text or "" for found in root.iter(f"{SVG}text")]


def _circles(root: ElementTree.Element) -> list[tuple[float, float]]:
    """Those of the rows: the legend's are above."""
    found = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{SVG}circle")]
    return [(x, y) for x, y in found if y > 60]


def test_marks_are_where_the_logarithm_is() -> None:
    root = ElementTree.fromstring(
        plot("<times>", {"a & b": {"vtpmd": 1.0}, "c": {"vtpmd": 10.0}, "d": {"vtpmd": 100.0}})
    )
    (x1, y1), (x2, y2), (x3, y3) = _circles(root)
    assert x2 - x1 == x3 - x2 > 0
    assert y2 - y1 == y3 - y2 > 0
    texts = _texts(root)
    assert {"<times>", "a & b", "c", "d", "1", "10", "100"} <= set(texts)
    assert not [text for text in texts if re.fullmatch(r"[\d.]+ x", text)]


def test_each_host_has_a_mark_and_ours_a_ratio() -> None:
    row = {"vtpmd": 3.0, "swtpm": 2.0, "before": 6.0}
    root = ElementTree.fromstring(plot("t", {"row": row}))
    after, before = sorted(_circles(root))
    polygons = [found.attrib["points"] for found in root.iter(f"{SVG}polygon")]
    assert len(polygons) == 2  # one in the legend
    assert float(polygons[-1].split(",")[0]) < after[0] < before[0]
    assert {"1.50 x", "vtpmd", "swtpm", "vtpmd before"} <= set(_texts(root))


def test_nothing_is_no_error_and_has_no_mark() -> None:
    root = ElementTree.fromstring(plot("t", {"none": {"vtpmd": 0.0}, "one": {"vtpmd": 1.0}}))
    assert len(_circles(root)) == 1
    assert "none" not in _texts(root)
    assert _circles(ElementTree.fromstring(plot("t", {}))) == []


def test_files_are_named_after_what_they_show(tmp_path: Path) -> None:
    rows = {"Hash": {"vtpmd": Row(1.0, 2.0, None, 1)}}
    run = Run(latency={"one CPU": rows, "two CPUs": rows}, idle={"list, ms": {"vtpmd": 2.0}})
    write(run, tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        *("latency-one-CPU.svg", "latency-two-CPUs.svg", "cpu-one-CPU.svg", "cpu-two-CPUs.svg"),
        "idle.svg",
    }
    for path in (tmp_path / "new").iterdir():
        ElementTree.parse(path)
