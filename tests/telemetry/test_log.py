"""The log: one line per event, and no secret in it."""

import io
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog

from vtpmd.telemetry import log


@pytest.fixture
def stream() -> Any:
    stream = io.StringIO()
    yield stream
    structlog.reset_defaults()


def test_json_lines_carry_level_time_component_and_fields(stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    log.get_logger("tests").info("created", instance="web1", size=3)
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "created",
        "level": "info",
        "component": "tests",
        "instance": "web1",
        "size": 3,
    }


def test_levels_below_the_configured_one_are_dropped(stream: io.StringIO) -> None:
    log.configure("warning", "console", stream)
    logger = log.get_logger("tests")
    logger.info("quiet")
    logger.warning("loud")
    assert "loud" in stream.getvalue()
    assert "quiet" not in stream.getvalue()


def test_a_logger_made_before_the_configuration_follows_it(stream: io.StringIO) -> None:
    logger = log.get_logger("early")
    log.configure("info", "json", stream)
    logger.info("late")
    assert json.loads(stream.getvalue())["component"] == "early"


def test_a_line_that_cannot_be_written_hinders_nothing(stream: io.StringIO) -> None:
    # Closing it fails as well.
    with suppress(OSError), open("/dev/full", "w", buffering=1) as full:
        log.configure("debug", "json", full)
        logger = log.get_logger("tests")
        calls = (logger.debug, logger.info, logger.warning, logger.error, logger.exception)
        assert [write("event") for write in calls] == [None] * 5
        stream.write("went on")
    assert stream.getvalue() == "went on"


@pytest.mark.parametrize("format", ["json", "console"])
def test_secrets_do_not_reach_the_log(stream: io.StringIO, format: log.LogFormat) -> None:
    log.configure("debug", format, stream)
    secret = b"SECRETSECRETSECRET"
    log.get_logger("tests").info(
        "event",
        dek=secret.hex(),
        Password="SECRET",
        raw=secret,
        mutable=bytearray(secret),
        nested={"token": "SECRET", "list": [secret, {"seed": "SECRET"}]},
    )
    assert "SECRET" not in stream.getvalue()
    assert secret.hex() not in stream.getvalue()
    assert "<18 bytes>" in stream.getvalue()


@pytest.mark.parametrize("format", ["json", "console"])
def test_tracebacks_show_no_values_of_variables(stream: io.StringIO, format: log.LogFormat) -> None:
    log.configure("debug", format, stream)
    variable = "".join(["TOP", "SECRET"])
    try:
        raise RuntimeError("a defect") if variable else AssertionError
    except RuntimeError:
        log.get_logger("tests").exception("failed")
    assert "RuntimeError: a defect" in stream.getvalue()
    assert "TOPSECRET" not in stream.getvalue()


@pytest.mark.parametrize("format", ["json", "console"])
def test_text_of_others_forges_no_line_and_reaches_no_terminal(
    stream: io.StringIO, format: log.LogFormat
) -> None:
    hostile = "x\n2026-01-01 [info] forged\x1b[2J\u202e\x9b"
    log.configure("info", format, stream)
    logger = log.get_logger("tests")
    logger.info("worker-event", detail=hostile, deep={"list": [hostile]}, **{hostile: 1})
    try:
        raise ValueError(hostile)
    except ValueError:
        logger.exception("defect")
    lines = stream.getvalue().splitlines()
    assert all("\x1b" not in line and "\u202e" not in line for line in lines)
    assert [line for line in lines if line.startswith("2026-01-01")] == []
    assert sum("worker-event" in line for line in lines) == 1


@pytest.mark.parametrize("format", ["json", "console"])
def test_lines_in_the_journal_carry_their_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: log.LogFormat
) -> None:
    """In front of each line, tracebacks included: journald takes them one by one."""
    with (tmp_path / "journal").open("w+") as journal:
        status = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        log.configure("debug", format, journal)
        logger = log.get_logger("x")
        for level in ("debug", "info", "warning", "error"):
            getattr(logger, level)("a")
        try:
            raise ValueError("b")
        except ValueError:
            logger.exception("c")
        journal.seek(0)
        lines = journal.read().splitlines()
    structlog.reset_defaults()
    assert [line[:3] for line in lines[:4]] == ["<7>", "<6>", "<4>", "<3>"]
    assert {line[:3] for line in lines[4:]} == {"<3>"}
    assert len(lines) == 5 if format == "json" else len(lines) > 5


def test_lines_elsewhere_carry_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, or standard error that somebody has redirected, whatever the variable says."""
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    with (tmp_path / "file").open("w+") as file:
        log.configure("info", "json", file)
        log.get_logger("x").warning("a")
        file.seek(0)
        assert json.loads(file.read())["event"] == "a"
    structlog.reset_defaults()
