"""What the daemon says of its host, its keys and its instances."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import without_landlock
from tests.peers.vtpmd import COMMANDS
from tests.supervisor.harness import Daemon
from tests.supervisor.stage import Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CloneRequest, CreateRequest, Diagnosis
from vtpmd.doctor import places
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.operations.capabilities import capabilities
from vtpmd.operations.clone import clone
from vtpmd.operations.create import create
from vtpmd.operations.doctor import doctor, doctor_instance


def worse(diagnosis: Diagnosis) -> set[tuple[str, str]]:
    """What is not as it should be, the machine's own that runs the test left out."""
    host = {check.name for check in places.CHECKS}
    return {
        (each.check, each.verdict)
        for each in diagnosis.findings
        if each.check not in host and each.verdict != "ok"
    }


async def test_a_host_with_nothing_wrong(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1"))
    found = await doctor(stage.fleet)
    assert worse(found) == set()
    assert {check.name for check in places.CHECKS} < {each.check for each in found.findings}
    assert {"key providers", "own authority"} < {each.check for each in found.findings}


async def test_what_is_wrong_is_told(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1"))
    await clone(stage.fleet, "web1", CloneRequest(name="web2", policy="copy"))
    stage.provider.fault = KeyUnavailableError("the KMS is away", retry=True)
    found = await doctor(stage.fleet)
    assert worse(found) == {("key providers", "bad"), ("shared identities", "warning")}
    (key,) = [each for each in found.findings if each.verdict == "bad"]
    assert key.reason == "main (type test) cannot wrap keys: the KMS is away"
    one = await doctor_instance(stage.fleet, "web1")
    assert {each.check for each in one.findings} == {
        *("instances", "key providers", "shared identities")
    }
    assert all("other" not in each.reason for each in one.findings)
    with pytest.raises(OperationError) as refused:
        await doctor_instance(stage.fleet, "web3")
    assert refused.value.problem is problems.NOT_FOUND


async def test_an_authority_that_is_damaged(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    (stage.directory / "state/ca/authority").write_bytes(b"{")
    assert ("own authority", "bad") in worse(await doctor(stage.fleet))


async def test_no_room_is_no_promise(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await capabilities(stage.fleet)).create == "available"
    monkeypatch.setattr(places, "NO_SPACE", 1 << 60)
    found = (await capabilities(stage.fleet)).create
    assert found.startswith("unavailable: the file system of ")
    assert "no TPM can be made" in found


def judged(done: subprocess.CompletedProcess[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for each in json.loads(done.stdout)["findings"]:
        found.setdefault(each["check"], []).append(each)
    return found


def test_a_daemon_is_asked_and_the_host_looked_at(daemon: Daemon) -> None:
    daemon.control("create", "web1")
    done = daemon.ctl("doctor", "--json")
    found = judged(done)
    assert {"kernel", "QEMU", "firmware", "daemon", "sandbox", "key providers"} < set(found)
    assert found["daemon"][0]["verdict"] == "ok"
    assert done.returncode in (31, 32)  # its keyring was never saved
    assert found["backup of keys"][0]["verdict"] == "warning"
    lines = daemon.ctl("doctor", "web1").stdout.splitlines()
    assert lines[0].startswith("ok       instances: web1 is running: ")
    assert lines[-1].startswith("         → `vtpmctl provider backup local FILE`")


def test_without_a_daemon_the_configuration_is_looked_at(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    daemon.end()
    config = str(daemon.configuration)
    done = daemon.ctl("doctor", "--json", "--config", config)
    found = judged(done)
    assert done.returncode == 32
    assert (found["daemon"][0]["verdict"], found["sandbox"][0]["verdict"]) == ("bad", "ok")
    assert found["key providers"][0]["reason"] == "local (type local) wraps keys"
    right = daemon.configuration.read_text()
    daemon.configuration.write_text(f"{right}\nstat_dir: /x\n")
    found = judged(daemon.ctl("doctor", "--json", "--config", config))
    assert found["configuration"][0]["verdict"] == "bad"
    assert "sandbox" not in found
    daemon.configuration.write_text(f"{right}\nkey_providers: []\n")
    found = judged(daemon.ctl("doctor", "--json", "--config", config))
    daemon.configuration.write_text(right)
    reasons = [each["reason"] for each in found["key providers"]]
    assert "local is not configured, but holds the keys of web1" in reasons


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_root_looks_as_the_daemon_s_user(root: Path) -> None:
    """What root may read and write says nothing of the daemon."""
    root.chmod(0o755)
    state, run = root / "state", root / "run"
    for path in (state, run):
        path.mkdir(mode=0o700)
    os.chown(state, 65534, 65534)
    config = root / "vtpmd.yaml"
    config.write_text(f"state_dir: {state}\nruntime_dir: {run}\nsandbox: 'off'\n")
    config.chmod(0o600)
    done = subprocess.run(
        [COMMANDS / "python", "-P", "-m", "vtpmd.doctor", "configuration", config],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = judged(done)
    assert found["configuration"][0]["reason"] == f"{config} cannot be read by nobody"
    assert found["state directory"][0]["verdict"] == "ok"
    assert found["runtime directory"][0]["verdict"] == "bad"


def test_a_daemon_whose_workers_cannot_be_confined_does_not_start(root: Path) -> None:
    config = root / "vtpmd.yaml"
    config.write_text(f"state_dir: {root}/state\nruntime_dir: {root}/run\n")
    command = [*without_landlock.PREFIX, str(COMMANDS / "vtpmd"), "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 70
    assert "vtpmd: sandbox: sandbox part landlock can't be had" in done.stderr
    assert "configure sandbox: best-effort" in done.stderr
    assert not (root / "run/admin.sock").exists()


def test_what_may_go_wrong_is_logged_at_start(root: Path) -> None:
    (root / "vtpmd.log").touch()
    daemon = Daemon(root, "rollback: 'off'\n")
    try:
        lines = [json.loads(line) for line in daemon.log().splitlines() if '"unfit"' in line]
    finally:
        daemon.close()
    assert {"rollback"} <= {line["check"] for line in lines}
    assert all(line["remedy"] for line in lines)


def test_a_umask_does_not_part_qemu_from_its_socket(root: Path) -> None:
    daemon = Daemon.__new__(Daemon)
    before = os.umask(0o077)
    try:
        daemon.__init__(root)  # type: ignore[misc]
        daemon.end()
        for path in sorted((root / "run").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (root / "run").rmdir()
        daemon.start()
    finally:
        os.umask(before)
    assert (root / "run").stat().st_mode & 0o777 == 0o755
    assert (root / "run/workers").stat().st_mode & 0o777 == 0o700
    daemon.close()
