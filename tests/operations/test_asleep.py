"""Whatever is asked of a TPM that sleeps is answered as if it were awake."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.harness import STARTUP_CLEAR, Daemon, execute, power_on, running
from vtpmd.supervisor.states import Act

REQUESTS: dict[Act, tuple[str, str, dict[str, Any] | None]] = {
    Act.START: ("POST", "/start", {}),
    Act.UNLOCK: ("POST", "/unlock", {}),
    Act.DELETE: ("DELETE", "", None),
    Act.MOVE: ("POST", "/rename", {"name": "other"}),
    Act.SET: ("PATCH", "", {"labels": {"rack": "7"}}),
    Act.SNAPSHOT: ("POST", "/snapshots", {"label": "before"}),
    Act.CLONE: ("POST", "/clone", {"name": "web2", "policy": "copy", "start": False}),
    Act.REKEY: ("POST", "/rekey", {"deep": True}),
    Act.MIGRATE: ("POST", "/migrate", {}),
    Act.CANCEL: ("POST", "/migrate", {"step": "cancel"}),
    Act.MIGRATED: ("POST", "/migrate", {"step": "done"}),
    Act.TAKE_BACK: ("POST", "/take-back", {}),
    Act.ACCEPT: ("POST", "/accept-rollback", {}),
    Act.IDENTIFY: ("POST", "/ek/requests", {}),
    Act.CERTIFY: ("POST", "/ek/renew", {}),
    Act.RESET_LOCKOUT: ("POST", "/da-reset", {}),
    Act.READ_PCRS: ("GET", "/pcrs", None),
    Act.UPGRADE: ("POST", "/upgrade", {}),
    Act.STOP: ("POST", "/stop", {"remember": True}),
    Act.END: ("POST", "/stop", {"force": True}),
}
REFUSED = {
    Act.DELETE: "running",
    Act.MOVE: "running",
    Act.MIGRATED: "handed-over",
}
"""As one that is awake and ours, and not in use."""
ELSEWHERE = {
    Act.REPLACE: "a bundle, whose restore asks nothing but whether it runs",
    Act.TICKET: "its answer is no JSON: see below",
    Act.BACK_UP: "the same",
    Act.RECEIVE: "asked of what is incoming, which does not sleep",
}


@pytest.fixture
def daemon(root: Path) -> Iterator[Daemon]:
    with running(root, "idle_timeout: 0.5\nsockets: {data_socket: true}") as daemon:
        power_on(info := daemon.control("create", "web1"))
        assert execute(info, STARTUP_CLEAR)[0] == 0
        yield daemon


def _sleeps(daemon: Daemon) -> None:
    daemon.until("web1", lambda info: info["asleep"])


def test_each_verb(daemon: Daemon) -> None:
    assert REQUESTS.keys() | ELSEWHERE.keys() == set(Act)
    for act, (method, path, content) in REQUESTS.items():
        _sleeps(daemon)
        status, answer = daemon.request(method, f"/instances/web1{path}", content)
        assert (status >= 400) is (act in REFUSED), (act, answer)
        if act in REFUSED:
            assert answer["code"] == REFUSED[act]
        if act is Act.STOP:
            assert daemon.request("POST", "/instances/web1/start", {})[0] == 200
    assert daemon.instance("web1").info()["state"] == "stopped"


@pytest.mark.parametrize(
    "arguments",
    [("backup", "web1"), ("migrate", "web1", "--ticket")],
    ids=["backup", "ticket"],
)
def test_files(daemon: Daemon, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    _sleeps(daemon)
    file = tmp_path / "file"
    daemon.control(*arguments, str(file))
    assert file.stat().st_size > 0
