"""condition.json: what the next daemon tells of an instance's state."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.harness import Daemon, until
from vtpmd.supervisor.condition_file import decode, encode
from vtpmd.supervisor.states import Cause, Condition

SINCE = datetime(2026, 5, 4, 3, 2, 1, 250, UTC)
FAILED = Condition("failed", "its worker ended; see the log", SINCE)


def changed(**changes: Any) -> bytes:
    return json.dumps(json.loads(encode(FAILED)) | changes).encode()


def test_what_is_written_is_read_back() -> None:
    assert decode(encode(FAILED)) == FAILED
    long = decode(encode(Condition("locked", "x" * 10_000, SINCE)))
    assert long is not None
    assert long.reason == "x" * 4096


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[" * 10_000,
        b"[]",
        b"{}",
        b"7",
        changed(format=2),
        changed(format=True),
        changed(state="asleep"),
        changed(state=["failed"]),
        changed(reason="two\nlines"),
        changed(reason=7),
        changed(since="yesterday"),
        changed(since="2026-05-04T03:02:01"),
        changed(since=None),
    ],
)
def test_what_is_no_condition_says_nothing(data: bytes) -> None:
    assert decode(data) is None


def test_who_stays_in_a_state_is_in_it_since_then() -> None:
    again = FAILED.after(Cause.REFUSED, "the disk is full")
    assert again == Condition("failed", "the disk is full", SINCE)
    assert again.after(Cause.READY, "ready").since > SINCE


def noted(daemon: Daemon, info: Any) -> dict[str, Any]:
    """Wait until what is told of an instance is written down, and what that is."""
    path = Path(daemon.state, "instances", info["uuid"], "condition.json")
    expected = {each: info[each] for each in ("state", "reason")}

    def content() -> dict[str, Any] | None:
        found = json.loads(path.read_text()) if path.exists() else {}
        return found if expected.items() <= found.items() else None

    return until(content)


def told(info: Any) -> tuple[str, str, str]:
    return info["state"], info["reason"], info["since"]


def test_states_and_reasons_outlive_the_daemon(daemon: Daemon) -> None:
    daemon.control("create", "stopped")
    infos = {
        "running": daemon.control("create", "running"),
        "stopped": daemon.control("stop", "stopped"),
        "fresh": daemon.control("create", "fresh", "--no-start"),
    }
    for name in ("running", "stopped"):
        noted(daemon, infos[name])
    for _ in range(2):
        daemon.restart()
        for name in ("running", "stopped"):
            assert told(daemon.control("info", name)) == told(infos[name])
        assert daemon.control("info", "fresh")["reason"] == "not started yet"
    started = daemon.control("start", "stopped")
    assert started["since"] > infos["stopped"]["since"]
    noted(daemon, started)


def test_another_reason_for_the_same_state_is_written_down(daemon: Daemon) -> None:
    daemon.control("create", "web1")
    daemon.control("stop", "web1")
    nvram = Path(daemon.instance("web1").directory, "tpm", "nvram")
    whole = nvram.read_bytes()
    reasons = set()
    for damaged in (whole[:100], bytes(len(whole))):
        nvram.write_bytes(damaged)
        daemon.ctl("start", "web1")
        reasons.add(noted(daemon, daemon.control("info", "web1"))["reason"])
    assert len(reasons) == 2


def test_a_damaged_note_is_no_fault(daemon: Daemon) -> None:
    daemon.control("create", "web1")
    info = daemon.control("stop", "web1")
    noted(daemon, info)
    daemon.end()
    path = Path(daemon.state, "instances", info["uuid"], "condition.json")
    path.write_bytes(b"\xff{")
    daemon.start()
    assert told(daemon.control("info", "web1"))[:2] == ("stopped", "not started yet")
    assert daemon.control("start", "web1")["state"] == "running"


def test_a_note_goes_with_its_instance(daemon: Daemon) -> None:
    info = daemon.control("create", "web1")
    daemon.control("stop", "web1")
    daemon.control("delete", "web1", "--yes")
    directory = Path(daemon.state, "instances")
    until(lambda: not any(directory.iterdir()))
    assert "leftover-kept" not in daemon.log()
    assert info["uuid"] not in {each.name for each in directory.iterdir()}
