"""vtpmctl list: filters, columns, order; list --watch, events, logs, top."""

import json
import os
import pty
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from tests.api.samples import filled
from tests.api.scripted import http, scripted
from tests.cli.calls import CALLS, octets
from tests.cli.conftest import Ctl
from vtpmd.api import schema
from vtpmd.cli import output
from vtpmd.cli.verbs.list import COLUMNS

UUIDS = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(4)]


def instance(number: int, **fields: object) -> dict[str, Any]:
    known = filled(schema.InstanceInfo)[1] | {"labels": {}}
    names = {"name": f"vm{number}", "uuid": UUIDS[number], "asleep": False, "handover": "ours"}
    return {**known, **names, "shares_identity_with": [], **fields}


FLEET = {
    "instances": [
        instance(
            0,
            state="running",
            provider="a",
            since="2026-01-03T00:00:00Z",
            labels={"tier": "web", "rack": "4"},
        ),
        instance(1, state="running", provider="b", since="2026-01-01T00:00:00Z", asleep=True),
        instance(2, state="locked", provider="b", since="2026-01-02T00:00:00Z"),
        instance(
            3,
            state="failed",
            provider="a",
            since="2026-01-04T00:00:00Z",
            labels={"tier": "db"},
        ),
    ]
}


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ("", "0123"),
        ("--state running", "01"),
        ("--state asleep", "1"),
        ("--state locked --state failed", "23"),
        ("--provider b", "12"),
        ("--provider b --state running", "1"),
        ("--sort since", "1203"),
        ("--sort provider", "0312"),
        ("--provider c", ""),
        ("--label tier=web", "0"),
        ("--label tier", "03"),
        ("--label tier --label rack=4", "0"),
        ("--label tier=", ""),
        ("--sort labels --label tier", "03"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_who_is_looked_for(ctl: Ctl, options: str, shown: str, as_json: bool) -> None:
    result, asked = ctl(["list", *options.split(), *["--json"] * as_json], [FLEET])
    assert result.exit_code == 0
    assert [each.target for each in asked] == ["/v1/instances"]
    if as_json:
        found = [each["name"] for each in json.loads(result.output)["instances"]]
    else:
        found = [line.split()[0] for line in result.output.splitlines()[1:]]
    assert found == [f"vm{number}" for number in shown]


def test_columns_are_chosen(ctl: Ctl) -> None:
    result, _ = ctl(["list", "--columns", "uuid,provider", "--state", "failed"], [FLEET])
    assert [line.split() for line in result.output.splitlines()] == [
        ["UUID", "PROVIDER"],
        [UUIDS[3], "a"],
    ]
    result, _ = ctl(["list", "-o", ",".join(COLUMNS)], [FLEET])
    assert result.exit_code == 0
    result, _ = ctl(["list", "-o", "colour"], [])
    assert result.exit_code == 2
    assert "there is no 'colour'; known are name, uuid," in result.output
    result, _ = ctl(["list", "--label", "=x"], [])
    assert result.exit_code == 2
    result, _ = ctl(["list", "-o", "labels", "--state", "running"], [FLEET])
    assert "rack=4,tier=web" in result.output.splitlines()


def test_watching_asks_again(ctl: Ctl) -> None:
    other = {"instances": [FLEET["instances"][2]]}
    words = ["list", "--watch", "--interval", "0.1", "--times", "2"]
    result, asked = ctl(words, [FLEET, other])
    assert len(asked) == 2
    assert result.output.count("NAME") == 2
    assert result.output.splitlines()[-1].startswith("vm2")


def test_a_narrow_terminal_cuts_no_uuid(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, pack("HHHH", 25, 60, 0, 0))
    path = tmp_path / "s"
    with scripted(path, [http(200, octets(FLEET))]):
        done = subprocess.Popen(
            [sys.executable, "-m", "vtpmd.cli.vtpmctl", "--socket", path, "list"],
            stdout=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "60"},
        )
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 65536):
                said += part
        except OSError:  # nobody has the other end any more
            pass
    assert done.wait(60) == 0
    os.close(ours)
    assert all(uuid.encode() in said for uuid in UUIDS)


def test_several_are_started_and_a_failure_stops_none(ctl: Ctl) -> None:
    missing = {"code": "not-found", "title": "x", "status": 404, "detail": "There is no vm9."}
    result, asked = ctl(
        ["start", "vm0", "vm9", "vm1"],
        [FLEET["instances"][0], missing, FLEET["instances"][1]],
        statuses=[200, 404, 200],
    )
    assert [each.target.split("/")[3] for each in asked] == ["vm0", "vm9", "vm1"]
    assert result.exit_code == 5
    assert "[2/3] vm9: There is no vm9." in result.output
    result, asked = ctl(["info", "vm0", "vm1"], FLEET["instances"][:2])
    assert result.exit_code == 0
    assert UUIDS[0] in result.output
    assert UUIDS[1] in result.output


@pytest.mark.parametrize("verb", ["start", "stop", "unlock", "upgrade", "rekey", "da-reset"])
def test_each_of_several_is_asked_for_once(ctl: Ctl, verb: str) -> None:
    report = CALLS["start" if verb == "start" else verb, "a"][0]
    result, asked = ctl([verb, "vm0", "vm1", "vm0"], [report, report])
    assert result.exit_code == 0
    assert [each.target for each in asked] == [f"/v1/instances/vm{n}/{verb}" for n in (0, 1)]
    assert result.output.splitlines()[1].startswith("[2/2] ")
    result, asked = ctl([verb, "vm0", "vm1", "--all"], [])
    assert (result.exit_code, asked) == (2, [])


def test_several_have_settings_changed_and_certificates_renewed(ctl: Ctl) -> None:
    instance = FLEET["instances"][0]
    result, asked = ctl(["set", "vm0", "vm1", "--label", "a=b"], [instance, instance])
    assert [json.loads(each.body) for each in asked] == [{"labels": {"a": "b"}}] * 2
    renewed = CALLS["ek", "renew", "a"][0]
    result, asked = ctl(["ek", "renew", "vm0", "vm1", "--json"], [renewed, renewed])
    assert json.loads(result.output) == {"renewed": [renewed, renewed], "failed": []}


def test_progress_is_for_people_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert output.progress(as_json=False) is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert output.progress(as_json=True) is None
    tell = output.progress(as_json=False)
    assert tell is not None
    tell(schema.Progress(done=2, all=3, name="web1\x1b[2J"))
    assert capsys.readouterr().err == "[2/3] web1\\x1b[2J\n"


def test_several_are_deleted_after_one_question(ctl: Ctl) -> None:
    result, asked = ctl(["delete", "vm0", "vm1"], [])
    assert (result.exit_code, asked) == (11, [])
    assert "Deleting vm0, vm1 destroys" in result.output
    done = CALLS["delete", "a", "--yes"][0]
    result, asked = ctl(["delete", "vm0", "vm1", "--yes"], [done, done])
    assert (result.exit_code, len(asked)) == (0, 2)


# --- events ---------------------------------------------------------------------------------------


def event(number: int, detail: str) -> dict[str, Any]:
    return {
        "number": number,
        "time": "2026-01-03T00:00:00Z",
        "severity": "warning",
        "instance": "vm0",
        "uuid": UUIDS[0],
        "kind": "state",
        "detail": detail,
    }


def test_events_are_lines(ctl: Ctl) -> None:
    answer = {"events": [event(3, "locked: its key\x1b[2J"), event(4, "running")], "last": 4}
    result, asked = ctl(["events"], [answer])
    assert asked[0].target == "/v1/events"
    first, second = result.output.splitlines()
    assert first.startswith("2026-01-03T00:00:00Z  warning  vm0  state: locked: its key")
    assert "\x1b" not in first
    assert second.endswith("state: running")
    result, asked = ctl(["events", "vm0", "--json"], [answer])
    assert asked[0].target == "/v1/events?instance=vm0"
    assert json.loads(result.output) == answer


def test_following_asks_after_what_it_knows(ctl: Ctl) -> None:
    """Until the daemon is gone."""
    answers = [
        {"events": [event(3, "one")], "last": 5},
        {"events": [], "last": 5},
        {"events": [event(6, "two")], "last": 6},
    ]
    result, asked = ctl(["events", "--follow"], answers)
    assert [each.target for each in asked[:3]] == [
        "/v1/events",
        "/v1/events?after=5&wait=30",
        "/v1/events?after=5&wait=30",
    ]
    assert [line.split()[-1] for line in result.output.splitlines()[:2]] == ["one", "two"]
    assert result.exit_code == 3
    result, _ = ctl(["events", "--follow", "--json"], answers)
    lines = result.stdout.splitlines()
    assert [json.loads(line)["detail"] for line in lines[:2]] == ["one", "two"]


def test_events_of_an_instance_that_is_not_there(ctl: Ctl) -> None:
    """One without events may be there, and one that is gone may have some."""
    nothing = {"events": [], "last": 4}
    missing = {"code": "not-found", "title": "x", "status": 404, "detail": "There is no vm9."}
    result, asked = ctl(["events", "vm9"], [nothing, missing], statuses=[200, 404])
    assert [each.target for each in asked] == ["/v1/events?instance=vm9", "/v1/instances/vm9"]
    assert (result.exit_code, result.stdout) == (5, "")
    assert "There is no vm9." in result.stderr
    result, _ = ctl(["events", "vm0"], [nothing, FLEET["instances"][0]])
    assert (result.exit_code, result.output) == (0, "")


# --- logs -----------------------------------------------------------------------------------------


def test_logs_of_one_instance(ctl: Ctl, tmp_path: Path) -> None:
    lines = [
        {"event": "state", "instance": "vm0", "uuid": UUIDS[0]},
        {"event": "state", "instance": "vm1", "uuid": UUIDS[1]},
        {"event": "request", "subject": "vm0"},
    ]
    file = tmp_path / "log"
    texts = [json.dumps(line) for line in lines]
    file.write_text("\n".join([*texts, "no JSON", "[" * 100_000, '{"instance": ["vm0"]}', ""]))
    result, asked = ctl(["logs", "vm0", "--file", str(file)], [])
    assert asked == []
    assert result.output.splitlines() == [texts[0], texts[2]]
    result, _ = ctl(["logs", UUIDS[1], "--file", str(file)], [])
    assert result.output.splitlines() == [texts[1]]
    result, _ = ctl(["logs", "vm9", "--file", str(file)], [])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"vtpmctl: no line in {file} is about vm9\n"
    result, _ = ctl(["logs", "vm0", "--file", str(tmp_path / "gone")], [])
    assert result.exit_code == 13
    assert "No such file" in result.output


def test_logs_without_a_journal(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    result, _ = ctl(["logs", "vm0"], [])
    assert result.exit_code == 13
    assert "name a file with --file" in result.output


# --- top ------------------------------------------------------------------------------------------


def usage(number: int, commands: int, refused: int, busy: int) -> dict[str, Any]:
    return {
        "name": f"vm{number}",
        "uuid": UUIDS[number],
        "state": "running",
        "asleep": False,
        "commands": commands,
        "refused": refused,
        "busy": busy,
        "stored": 0,
        "memory": 3 << 20,
    }


def test_top_shows_rates_of_those_that_are_used(ctl: Ctl) -> None:
    before = {
        "clock": 1000,
        "instances": [usage(0, 10, 0, 0), usage(1, 5, 0, 0), usage(2, 0, 0, 0)],
    }
    after = {
        "clock": 3000,
        "instances": [usage(0, 14, 2, 8000), usage(1, 5, 0, 0), usage(2, 100, 0, 1_000_000)],
    }
    words = ["top", "--interval", "0.1", "--times", "1"]
    result, asked = ctl(words, [before, after])
    assert {each.target for each in asked} == {"/v1/usage"}
    assert [line.split() for line in result.output.splitlines()[1:]] == [
        ["vm2", "running", "50.0", "10.00", "50.0", "0.0", "0.0", "3.0", "MiB"],
        ["vm0", "running", "2.0", "2.00", "0.4", "1.0", "0.0", "3.0", "MiB"],
    ]
    result, _ = ctl([*words, "--idle"], [before, after])
    assert result.output.splitlines()[-1].split()[:4] == ["vm1", "running", "0.0", "-"]
    result, _ = ctl([*words, "--json"], [before, after])
    assert json.loads(result.output)["clock"] == 3000
