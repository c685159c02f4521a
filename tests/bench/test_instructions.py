"""Commands don't cost more instructions than is written down."""

from pathlib import Path

import pytest

from tests.bench import instructions
from tests.bench.instructions import COUNTED, MARGIN, count, interpreter, written_down
from tests.bench.workloads import WORKLOADS


@pytest.mark.slow
def test_commands_cost_no_more_than_is_written_down() -> None:
    if reason := instructions.why_not():
        pytest.skip(reason)
    bounds = {name: MARGIN * known for name, known in written_down()[interpreter()].items()}
    counted = count()
    assert {
        name: (counted[name], bounds[name]) for name in bounds if counted[name] > bounds[name]
    } == {}
    assert all(counted[name] > 10_000 for name in COUNTED)  # that they were counted at all


def test_every_counted_command_is_written_down() -> None:
    assert set(COUNTED) <= {workload.name for workload in WORKLOADS}
    for known in written_down().values():
        assert known.keys() == set(COUNTED)


def test_nothing_is_compared_without_valgrind_or_with_another_interpreter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert instructions.why_not() == "valgrind is not installed"
    (tmp_path / "valgrind").touch(mode=0o755)
    monkeypatch.setattr(instructions, "TABLE", tmp_path / "none.json")
    instructions.TABLE.write_text("{}")
    assert interpreter() in (instructions.why_not() or "")
