"""The log of vtpmd-swtpm."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from vtpmd.standalone import options
from vtpmd.standalone.journal import open_log


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    open_log(options.log("file=/dev/full")).error("state-damaged", detail="x")


def test_a_line_begins_with_the_prefix(tmp_path: Path) -> None:
    file = tmp_path / "log"
    open_log(options.log(f"file={file},prefix=vm1: ")).error("state-damaged", detail="x")
    (line,) = file.read_text().splitlines()
    assert line.startswith("vm1: ")
    assert "state-damaged" in line
