"""The audit log: one line per event, with who did it, and never a secret."""

import json
import os
import resource
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.users import as_root
from vtpmd.telemetry.audit import Audit, acting, acting_alone


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_each_event_is_one_line_with_its_actor(tmp_path: Path) -> None:
    file = tmp_path / "audit"
    audit = Audit(file)
    audit.record("key-use", operation="wrap")
    with acting(uid=7, pid=8):
        audit.record("request", verb="start")
        acting_alone()
        audit.record("key-use", operation="unwrap")
    audit.record("request", verb="stop")
    found = lines(file)
    assert [line.get("uid") for line in found] == [None, 7, None, None]
    assert [line.get("pid") for line in found] == [None, 8, None, None]
    assert [line["event"] for line in found] == ["key-use", "request", "key-use", "request"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_secrets_are_withheld(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit")
    audit.record("request", passphrase_length=3, password="hunter2", blob=b"hunter2")
    assert "hunter2" not in (tmp_path / "audit").read_text()


def test_a_file_renamed_away_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "audit"
    audit = Audit(file)
    audit.record("request")
    file.rename(tmp_path / "audit.1")
    audit.record("request")
    assert len(lines(file)) == 1


def test_a_line_that_has_no_room_is_taken_back_and_told(tmp_path: Path) -> None:
    file = tmp_path / "audit"
    audit = Audit(file)
    audit.record("request", verb="start")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 9, before[1]))
    try:
        with capture_logs() as logs:
            audit.record("request", verb="stop")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    audit.record("request", verb="delete")
    assert [line["verb"] for line in lines(file)] == ["start", "delete"]
    (entry,) = logs
    assert entry["event"] == "audit-failed"
    assert entry["entry"]["verb"] == "stop"
    assert "No space left" in entry["reason"]


def test_without_a_file_the_log_has_it() -> None:
    with capture_logs() as logs:
        Audit().record("request", verb="start")
    assert logs == [
        {"event": "request", "component": "audit", "verb": "start", "log_level": "info"}
    ]


@pytest.mark.parametrize("kind", ["link", "directory", "fifo", "writable", "absent"])
def test_what_is_no_safe_file_is_refused_and_nothing_fails(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "audit"
    match kind:
        case "link":
            (tmp_path / "precious").write_text("precious")
            file.symlink_to(tmp_path / "precious")
        case "directory":
            file.mkdir()
        case "fifo":
            os.mkfifo(file)
        case "writable":
            file.touch()
            file.chmod(0o666)
        case "absent":
            file = tmp_path / "no" / "audit"
    audit = Audit(file)
    with pytest.raises(OSError):
        audit.check()
    with capture_logs() as logs:
        audit.record("request", verb="start")
    assert [entry["event"] for entry in logs] == ["audit-failed"]
    if kind == "link":
        assert (tmp_path / "precious").read_text() == "precious"


@as_root
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "audit"
    file.touch(0o600)
    Audit(file).check()
    os.chown(file, 65534, -1)
    with pytest.raises(OSError, match="others may write to it"):
        Audit(file).check()
