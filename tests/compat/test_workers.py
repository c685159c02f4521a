"""Workers of one version under a daemon of another: adopted, listed, stopped. All is real."""

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.supervisor.harness import (
    GET_RANDOM_8,
    STARTUP_CLEAR,
    Daemon,
    execute,
    power_on,
    until,
)
from vtpmd.supervisor.reasons import READY

OTHER_VERSION = Path(__file__).parent / "other_version"
READ_CLOCK = bytes.fromhex("80010000000a00000181")
RC_SUCCESS = 0
DEADLINE = 60


@pytest.fixture
def daemon(root: Path, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A daemon whose workers will talk like those of another version, with one that serves."""
    other = {"PYTHONPATH": str(OTHER_VERSION), "PYTHON_VTPMD": request.param}
    daemon = Daemon(root, "sockets: {data_socket: true}", other)
    try:
        power_on(daemon.control("create", "web1"))
        assert execute(daemon.control("info", "web1"), STARTUP_CLEAR)[0] == RC_SUCCESS
        yield daemon
    finally:
        daemon.clean_up()


def update(daemon: Daemon) -> None:
    """End the daemon and start this version of it; the worker goes on."""
    daemon.end()
    for name in ("PYTHONPATH", "PYTHON_VTPMD"):
        del daemon.environment[name]
    daemon.start()


@pytest.mark.parametrize("daemon", ["minor"], indirect=True)
def test_a_worker_that_reports_more_and_less_is_adopted_and_stopped(daemon: Daemon) -> None:
    before = daemon.control("info", "web1")
    worker = before["worker"]
    until(Path(daemon.state, "instances", before["uuid"], "condition.json").exists)
    update(daemon)
    (listed,) = daemon.control("list")["instances"]
    for told in ("state", "reason", "since"):
        assert listed[told] == before[told]
    info = daemon.control("info", "web1")
    assert info["worker"]["pid"] == worker["pid"]
    assert (info["worker"]["tpm"], info["worker"]["commands"]) == ("unknown", 0)
    assert info["worker"]["sandbox"] == worker["sandbox"]
    assert execute(info, GET_RANDOM_8)[0] == RC_SUCCESS
    upgraded = daemon.control("upgrade", "web1")
    info = daemon.control("info", "web1")
    assert (info["worker"]["tpm"], info["worker"]["pid"]) == ("on", upgraded["pid"])
    assert execute(info, GET_RANDOM_8)[0] == RC_SUCCESS
    pidfd = os.pidfd_open(upgraded["pid"])
    assert daemon.control("stop", "web1")["state"] == "stopped"
    assert select.select([pidfd], [], [], DEADLINE)[0]
    os.close(pidfd)
    assert "stop-unanswered" not in daemon.log()
    assert daemon.control("start", "web1")["state"] == "running"
    assert daemon.control("info", "web1")["worker"]["tpm"] != "unknown"


@pytest.mark.parametrize("daemon", ["major"], indirect=True)
def test_a_worker_that_is_not_understood_is_left_serving_and_can_be_stopped(
    daemon: Daemon,
) -> None:
    info = daemon.control("info", "web1")
    pidfd = os.pidfd_open(info["worker"]["pid"])
    update(daemon)
    (listed,) = daemon.control("list")["instances"]
    assert listed["state"] == "running"
    assert "version 2.0 of the protocol and not 1.0: it can be stopped" in listed["reason"]
    assert daemon.control("info", "web1")["worker"] is None
    for verb in ("pcr", "upgrade"):
        assert "version 2.0" in daemon.ctl(verb, "web1").stderr
    assert execute(info, GET_RANDOM_8)[0] == RC_SUCCESS  # nothing has disturbed it
    assert not select.select([pidfd], [], [], 0)[0]
    assert daemon.control("stop", "web1")["state"] == "stopped"
    assert select.select([pidfd], [], [], DEADLINE)[0]
    os.close(pidfd)
    assert daemon.control("start", "web1")["state"] == "running"
    # Not killed, but ended in order: the clock has been stored (Part 1, "Clock", Safe).
    code, clock_info = execute(info, READ_CLOCK)
    assert (code, clock_info[-1]) == (RC_SUCCESS, 1)


@pytest.mark.parametrize("daemon", ["older"], indirect=True)
def test_a_worker_of_an_earlier_version_is_shown_until_it_is_upgraded(daemon: Daemon) -> None:
    assert daemon.control("info", "web1")["reason"] == READY
    update(daemon)
    daemon.until("web1", lambda info: "its worker is of vtpmd 0.0.9" in info["reason"])
    assert "of vtpmd 0.0.9" in daemon.ctl("list").stdout
    daemon.control("upgrade", "--all")
    daemon.until("web1", lambda info: "of vtpmd" not in info["reason"])
