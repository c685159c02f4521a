"""Sleeping TPMs and a real daemon that is restarted, killed or away."""

import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.test_workers import OTHER_VERSION
from tests.supervisor.harness import (
    GET_RANDOM_8,
    STARTUP_CLEAR,
    Daemon,
    execute,
    power_on,
    running,
    until,
)
from tests.worker.harness import READ_CLOCK, Qemu, tpm
from vtpmd import __version__
from vtpmd.supervisor import serving_lock

IDLE = "idle_timeout: 0.3\nsockets: {data_socket: true}"


@pytest.fixture
def daemon(root: Path) -> Iterator[Daemon]:
    with running(root, IDLE) as daemon:
        yield daemon


def keeper_of(daemon: Daemon) -> int | None:
    try:
        return serving_lock.holder(daemon.runtime / "workers/keeper")
    except FileNotFoundError:
        return None


def asleep(daemon: Daemon) -> dict[str, object]:
    """Wait until the daemon says that it sleeps; what else it says."""
    info: dict[str, object] = daemon.until("web1", lambda info: info if info["asleep"] else None)
    return info


def test_a_daemon_that_is_away_is_not_missed(daemon: Daemon) -> None:
    """It wakes while there is none, sleeps again, and the next one finds it asleep."""
    info = daemon.control("create", "web1")
    with Qemu(Path(info["control_socket"])) as qemu:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR.hex())[6:10] == bytes(4)
        before = asleep(daemon)
        adoption = daemon.runtime / "workers" / info["uuid"]
        for number in (signal.SIGTERM, signal.SIGKILL):
            daemon.end(number)
            assert len(tpm(qemu.data, GET_RANDOM_8.hex())) == 20
            until(lambda: serving_lock.holder(adoption) is None)
            daemon.start()
            after = asleep(daemon)
            assert after["since"] == before["since"]
            assert after["reason"] == before["reason"]
            assert f"QEMU (pid {os.getpid()}) stays connected" in str(after["reason"])
            assert len(tpm(qemu.data, GET_RANDOM_8.hex())) == 20
            until(lambda: serving_lock.holder(adoption) is None)
            asleep(daemon)
        assert " asleep " in daemon.ctl("list").stdout


def test_a_keeper_of_another_version_is_replaced_while_what_sleeps_sleeps_on(root: Path) -> None:
    """By the next daemon, unasked. Who wakes then is served by a worker of the new version."""
    other = {"PYTHONPATH": str(OTHER_VERSION), "PYTHON_VTPMD": "older"}
    daemon = Daemon(root, IDLE.replace("0.3", "2"), other)
    try:
        info = daemon.control("create", "web1")
        assert info["worker"]["version"] == "0.0.9"
        assert "of vtpmd 0.0.9" in daemon.ctl("info", "web1").stdout
        power_on(info)
        assert execute(info, STARTUP_CLEAR)[0] == 0
        asleep(daemon)
        before = keeper_of(daemon)
        daemon.end()
        daemon.environment.pop("PYTHON_VTPMD")
        daemon.environment.pop("PYTHONPATH")
        daemon.start()
        until(lambda: keeper_of(daemon) not in (None, before))
        assert daemon.control("info", "web1")["asleep"]
        assert execute(info, GET_RANDOM_8)[0] == 0
        assert daemon.until("web1", lambda info: info["worker"])["version"] == __version__
        daemon.end()  # the same version finds the same keeper
        keeper = keeper_of(daemon)
        daemon.start()
        asleep(daemon)
        assert keeper_of(daemon) == keeper
    finally:
        daemon.clean_up()


def test_a_host_that_goes_down_has_cut_nobody_off_who_sleeps(daemon: Daemon) -> None:
    """Daemon and keeper are gone at once: the TPM is off, and its next start is an orderly one."""
    info = daemon.control("create", "web1")
    power_on(info)
    assert execute(info, STARTUP_CLEAR)[0] == 0
    asleep(daemon)
    keeper = keeper_of(daemon)
    assert keeper is not None
    daemon.end(signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    until(lambda: keeper_of(daemon) is None)
    daemon.start()
    info = daemon.control("info", "web1")
    assert "TPM is off" in info["reason"]
    power_on(info)
    assert execute(info, STARTUP_CLEAR)[0] == 0
    code, clock = execute(info, bytes.fromhex(READ_CLOCK))
    assert (code, clock[-1]) == (0, 1)  # Safe: no Clock value was given out twice
    lockout_counter = bytes.fromhex("8001000000160000017a000000060000020e00000001")
    code, properties = execute(info, lockout_counter)
    assert (code, struct.unpack(">I", properties[-4:])) == (0, (0,))


def test_who_has_used_it_after_it_woke_was_cut_off_by_a_crash(root: Path) -> None:
    """What was stored for the sleep is not what the TPM is any more."""
    with running(root, IDLE.replace("0.3", "4")) as daemon:
        info = daemon.control("create", "web1")
        power_on(info)
        assert execute(info, STARTUP_CLEAR)[0] == 0
        asleep(daemon)
        assert execute(info, GET_RANDOM_8)[0] == 0
        worker = serving_lock.holder(daemon.runtime / "workers" / info["uuid"])
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        daemon.until("web1", lambda info: "restarted" in info["reason"])
        power_on(info)
        assert execute(info, STARTUP_CLEAR)[0] == 0
        code, clock = execute(info, bytes.fromhex(READ_CLOCK))
        assert (code, clock[-1]) == (0, 0)


def test_nothing_sleeps_where_that_is_not_wanted(root: Path) -> None:
    with running(root, "idle_timeout: 0") as daemon:
        daemon.control("create", "web1")
        assert not daemon.control("info", "web1")["asleep"]
        assert keeper_of(daemon) is None
