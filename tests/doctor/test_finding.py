"""A table of checks."""

from collections.abc import Iterator
from pathlib import Path

from vtpmd.api import names
from vtpmd.doctor import authority, instances, keys, machine, places
from vtpmd.doctor.finding import Check, Found, examine, ok, unknown

TABLES = (authority, instances, keys, machine, places)


def test_a_check_may_find_nothing_one_thing_or_several() -> None:
    def several(subject: str) -> Iterator[Found]:
        yield ok(subject)
        yield unknown("why", "how")

    checks = [Check[str]("a", ok), Check("b", several), Check[str]("c", lambda _: ())]
    found = [(each.check, each.verdict, each.reason, each.remedy) for each in examine(checks, "s")]
    assert found == [("a", "ok", "s", ""), ("b", "ok", "s", ""), ("b", "unknown", "why", "how")]


def test_what_the_host_does_not_let_us_look_at_is_unknown() -> None:
    def look(path: Path) -> Found:
        return ok(path.read_text())

    (found,) = examine([Check("a", look)], Path("/nonexistent"))
    assert (found.verdict, found.reason) == ("unknown", "/nonexistent: No such file or directory")


def test_names_are_distinct_and_verdicts_have_statuses() -> None:
    known = [check.name for table in TABLES for check in table.CHECKS]
    assert len(set(known)) == len(known)
    assert list(names.EXIT_VERDICTS) == [names.OK, names.UNKNOWN, names.WARNING, names.BAD]
    assert list(names.EXIT_VERDICTS.values()) == sorted(names.EXIT_VERDICTS.values())
    assert set(names.EXIT_VERDICTS.values()) <= set(names.EXIT_STATUSES)
