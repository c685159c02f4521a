"""Moments in files: what counts as one."""

from datetime import UTC, datetime

import pytest

from vtpmd.encoding.moment import moment


def test_a_moment_is_told_in_utc() -> None:
    assert moment("2026-01-02T03:04:05+02:00") == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert moment("2026-01-02T03:04:05+02:00").tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05",
        "0001-01-01T00:00:00+01:00",  # before the first year, in UTC
        "9999-12-31T23:59:59-01:00",
        "soon",
        "",
        3,
        None,
    ],
)
def test_what_names_none_is_refused(text: object) -> None:
    with pytest.raises(ValueError):
        moment(text)
