"""Workers are replaced under a real daemon, which may be restarted or killed at any moment."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.supervisor.harness import (
    GET_RANDOM_8,
    STARTUP_CLEAR,
    Daemon,
    execute,
    power_on,
    running,
)
from vtpmd.supervisor import serving_lock

EXTEND_16 = bytes.fromhex("80020000004100000182000000100000000940000009000000000000000001000b")
MOMENTS = 6


@pytest.fixture
def daemon(root: Path) -> Iterator[Daemon]:
    with running(root, "sockets: {data_socket: true}") as daemon:
        power_on(daemon.control("create", "web1"))
        assert execute(daemon.control("info", "web1"), STARTUP_CLEAR)[0] == 0
        yield daemon


def test_a_successor_is_adopted_and_succeeded_by_the_next_daemon(daemon: Daemon) -> None:
    before = daemon.control("info", "web1")
    upgraded = daemon.control("upgrade", "web1")
    assert upgraded["pid"] != before["worker"]["pid"]
    assert not Path(f"/proc/{before['worker']['pid']}/exe").exists()
    for number in (signal.SIGTERM, signal.SIGKILL):
        daemon.restart(number)
        info = daemon.control("info", "web1")
        assert info["worker"]["pid"] == upgraded["pid"]
        assert execute(info, GET_RANDOM_8)[0] == 0
        (upgraded,) = daemon.control("upgrade", "--all")["upgraded"]
        assert execute(info, GET_RANDOM_8)[0] == 0
    info = daemon.control("info", "web1")
    assert info["worker"]["tpm"] == "on"
    assert info["reason"] == before["reason"]
    daemon.control("stop", "web1")
    assert daemon.control("start", "web1")["state"] == "running"


def test_a_daemon_killed_in_the_middle_leaves_exactly_one_worker(daemon: Daemon) -> None:
    """At several moments of a succession; the TPM is on, with what was extended."""
    info = daemon.control("info", "web1")
    for moment in range(MOMENTS):
        assert execute(info, EXTEND_16 + bytes(31) + bytes([moment]))[0] == 0
        asked = threading.Thread(target=daemon.ctl, args=("upgrade", "web1"))
        asked.start()
        _pause(moment * 0.02)
        daemon.restart(signal.SIGKILL)
        asked.join()
        info = daemon.control("info", "web1")
        assert info["worker"]["tpm"] == "on"
        assert info["worker"]["commands"] == 2 * moment + 2
        assert execute(info, GET_RANDOM_8)[0] == 0
        adoption = daemon.runtime / "workers" / info["uuid"]
        assert serving_lock.holder(adoption) == info["worker"]["pid"]
    value = daemon.control("pcr", "web1")["banks"]["sha256"]["16"]
    assert value == _extended(MOMENTS)


def _extended(count: int) -> str:
    value = bytes(32)
    for number in range(count):
        value = hashlib.sha256(value + bytes(31) + bytes([number])).digest()
    return value.hex()


def _pause(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.sched_yield()
