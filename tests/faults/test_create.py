"""Instances that are made twice, at once, or not to the end; and two daemons at one place."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.faults.bystander import Bystander
from tests.faults.machine import Machine
from tests.faults.test_certificates import INDICES, certificates, known, serials
from tests.faults.tracing import Call, calls, killing, needs_tracing, traced
from tests.peers.client import PeerError
from tests.peers.vtpmd import COMMANDS, Vtpmd, identity

AT_ONCE = 20
EXIT_BUSY = 75
# What a create does to files and processes; the rest of its system calls only looks.
ACTS = ("mkdirat", "fsync", "rename,renameat,renameat2", "sendmsg", "unlinkat")


def names(daemon: Vtpmd) -> list[str]:
    return [info["name"] for info in daemon.control("list")["instances"]]


def directories(daemon: Vtpmd) -> list[str]:
    return sorted(path.name for path in (daemon.state / "instances").iterdir())


def create_all(daemon: Vtpmd, requests: list[dict[str, str]]) -> list[tuple[int, Any]]:
    """All these instances at the same time; the answers."""
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(
            pool.map(lambda request: daemon.request("POST", "/instances", request), requests)
        )


@pytest.mark.parametrize("what", ["name", "uuid", "both", "name that is the UUID"])
def test_only_one_wins(daemon: Vtpmd, what: str) -> None:
    uuid = str(UUID(int=0x1234))
    requests = {
        "name": [{"name": "web1"} for _ in range(AT_ONCE)],
        "uuid": [{"name": f"web{index}", "uuid": uuid} for index in range(AT_ONCE)],
        "both": [{"name": "web1", "uuid": uuid} for _ in range(AT_ONCE)],
        "name that is the UUID": [{"name": uuid}, {"name": "web1", "uuid": uuid}] * 10,
    }[what]
    answers = create_all(daemon, requests)
    assert sorted(status for status, _ in answers) == [201] + [409] * (AT_ONCE - 1)
    (winner,) = [content for status, content in answers if status == 201]
    assert {content["code"] for status, content in answers if status == 409} == {"exists"}
    assert names(daemon) == [winner["name"]]
    assert directories(daemon) == [winner["uuid"]]
    instance = daemon.instance(winner["name"])
    with Machine(instance) as machine:
        machine.define_indices()
    before = instance.nvram.read_bytes()
    for request in requests[:2]:
        assert daemon.request("POST", "/instances", request)[0] == 409
    assert instance.nvram.read_bytes() == before


@pytest.mark.slow
def test_different_ones_do_not_hinder_each_other(daemon: Vtpmd) -> None:
    requests = [{"name": f"web{index}"} for index in range(8)]
    assert {status for status, _ in create_all(daemon, requests)} == {201}
    assert len({info["uuid"] for info in daemon.control("list")["instances"]}) == len(requests)


def points_of_a_create(daemon: Vtpmd, log: Path) -> list[Call]:
    """Where the supervisor can be killed while it creates; sets of names count together."""
    with traced(daemon.process(), log, "-f"):
        assert daemon.request("POST", "/instances", {"name": "whole"})[0] == 201
    found = calls(log)
    points = []
    for act in ACTS:
        for name in act.split(","):
            counts = {count for called, count in found if called == name}
            points += [(name, count) for count in sorted(counts)]
    return points


@pytest.mark.slow
@needs_tracing
def test_daemon_killed_amid_a_create(daemon: Vtpmd, tmp_path: Path) -> None:
    """After the restart the instance is there and works, or it is not and leaves nothing.

    If it is there, its TPM has its certificates, and the ledger knows them.
    """
    log = tmp_path / "strace"
    points = points_of_a_create(daemon, log)
    assert len({name for name, _ in points}) >= len(ACTS) - 1
    expected = ["whole"]
    outcomes = set()
    with Bystander(daemon.instance("whole")) as bystander:
        for index, point in enumerate(points):
            name = f"vm{index}"
            with traced(daemon.process(), log, *killing(point, "-f")):
                try:
                    status, _ = daemon.request("POST", "/instances", {"name": name})
                    assert status == 201  # this time it did not come to that
                    daemon.end()
                except (OSError, PeerError, ValueError):
                    daemon.end()
            daemon.start()
            found = names(daemon)
            outcomes.add(name in found)
            if name in found:
                expected.append(name)
            assert sorted(found) == sorted(expected)
            uuids = [info["uuid"] for info in daemon.control("list")["instances"]]
            assert directories(daemon) == sorted(uuids)
            assert daemon.request("POST", "/instances", {"name": name})[0] == (
                409 if name in found else 201
            )
            if name not in found:
                expected.append(name)
            instance = daemon.instance(name)
            assert instance.start()[0] == 200
            held = serials(certificates(daemon, name))
            assert len(held) == len(INDICES)
            assert held <= known(daemon)
            assert daemon.control("info", name)["certificates"] == "valid"
            with Machine(instance) as machine:
                machine.define_indices()
            bystander.check()
    assert outcomes == {True, False}


def second_daemon(daemon: Vtpmd, configuration: Path) -> subprocess.CompletedProcess[str]:
    user = identity()
    return subprocess.run(
        [COMMANDS / "vtpmd", "--config", configuration],
        capture_output=True,
        text=True,
        timeout=60,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        cwd="/",
    )


def writable(directory: Path) -> Path:
    """A new directory of the daemon's user."""
    directory.mkdir(mode=0o700)
    user = identity()
    if user is not None:
        os.chown(directory, user, user)
    return directory


def test_second_daemon_on_one_state_directory(daemon: Vtpmd) -> None:
    """Also by another path to it, and with a runtime directory of its own."""
    instance = daemon.create("web1")
    link = daemon.directory / "link"
    link.mkdir()
    elsewhere = daemon.directory / "elsewhere.yaml"
    path = f"{link}/../{daemon.state.name}"
    runtime = writable(daemon.directory / "run2")
    elsewhere.write_text(f"state_dir: {path}\nruntime_dir: {runtime}\n")
    with Bystander(instance):
        before = directories(daemon), names(daemon)
        for configuration in (daemon.configuration, elsewhere):
            refused = second_daemon(daemon, configuration)
            assert refused.returncode == EXIT_BUSY
            (line,) = [line for line in refused.stderr.splitlines() if line.startswith("vtpmd: ")]
            assert f"in use by process {daemon.process()}" in line
            assert "Traceback" not in refused.stderr
        assert (directories(daemon), names(daemon)) == before
    assert daemon.create("web2").info()["state"] == "running"


def test_second_daemon_on_one_runtime_directory(daemon: Vtpmd) -> None:
    instance = daemon.create("web1")
    other = daemon.directory / "other.yaml"
    state = writable(daemon.directory / "other")
    other.write_text(f"state_dir: {state}\nruntime_dir: {daemon.runtime}\n")
    with Bystander(instance):
        refused = second_daemon(daemon, other)
        assert refused.returncode == EXIT_BUSY
        assert "another process listens on" in refused.stderr
        assert instance.info()["state"] == "running"
    instance.restart()
