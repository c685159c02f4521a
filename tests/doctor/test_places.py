"""Checks of what a configuration names, most of them as a user who is not root."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from tests import without_landlock
from vtpmd.api.schema import Finding
from vtpmd.config.schema import Configuration
from vtpmd.doctor import places
from vtpmd.doctor.finding import examine
from vtpmd.linux import acl

NOBODY = 65534
Usage = namedtuple("Usage", "total used free")


def configured(directory: Path, **settings: object) -> Configuration:
    for name in ("state", "run"):
        (directory / name).mkdir(mode=0o700 if name == "state" else 0o755, exist_ok=True)
    return Configuration.model_validate(
        {"state_dir": f"{directory}/state", "runtime_dir": f"{directory}/run", **settings}
    )


def look(name: str, configuration: Configuration) -> Finding:
    checks = [check for check in places.CHECKS if check.name == name]
    *_, found = examine(checks, configuration)
    return found


def test_a_host_as_it_should_be(short_path: Path) -> None:
    findings = examine(places.CHECKS, configured(short_path))
    worse = {each.check for each in findings if each.verdict != "ok"}
    assert worse <= {
        "umask",
        "disk space",
        "open files",
        "locked memory",
    }  # the machine's that runs the test
    assert {each.check for each in findings} == {check.name for check in places.CHECKS}


def test_a_sandbox_that_is_off_or_best_effort(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look("sandbox", configured(short_path, sandbox="off")).verdict == "warning"
    active = {"mode": "best-effort", "landlock": "unavailable: no", "limits": "on"}
    monkeypatch.setattr(places, "try_sandbox", lambda mode: (active, ""))
    found = look("sandbox", configured(short_path, sandbox="best-effort"))
    assert (found.verdict, found.reason) == (
        "warning",
        "workers run without: landlock unavailable: no",
    )


def test_a_directory_that_is_not_the_daemon_s(short_path: Path) -> None:
    configuration = configured(short_path)
    configuration.state_dir.chmod(0o777)
    found = look("state directory", configuration)
    assert (found.verdict, "state_dir: " in found.reason) == ("bad", True)
    configuration.state_dir.chmod(0o755)
    found = look("state directory", configuration)
    assert (found.verdict, found.remedy) == ("warning", f"chmod 0700 {configuration.state_dir}")
    configuration.state_dir.rmdir()
    assert "will be made" in look("state directory", configuration).reason


def test_a_runtime_directory_that_no_qemu_reaches(short_path: Path) -> None:
    configuration = configured(short_path)
    configuration.runtime_dir.chmod(0o700)
    found = look("runtime directory", configuration)
    assert (found.verdict, found.remedy) == ("warning", f"chmod 0755 {configuration.runtime_dir}")


@pytest.mark.parametrize(("umask", "verdict"), [(0o077, "ok"), (0o022, "ok"), (0o002, "warning")])
def test_the_umask(short_path: Path, umask: int, verdict: str) -> None:
    before = os.umask(umask)
    try:
        found = look("umask", configured(short_path))
    finally:
        os.umask(before)
    assert (found.verdict, f"umask {umask:04o}" in found.reason) == (verdict, True)


@pytest.mark.parametrize(
    ("free", "verdict"),
    [(places.LITTLE_SPACE, "ok"), (places.NO_SPACE, "warning"), (places.NO_SPACE - 1, "bad")],
)
def test_disk_space(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free, 0, free))
    found = look("disk space", configured(short_path))
    assert (found.verdict, f"{free >> 20} MiB left" in found.reason) == (verdict, True)


@pytest.mark.parametrize(
    ("length", "verdict", "text"),
    [(32, "ok", "all 64"), (33, "warning", "63 characters at most"), (60, "warning", "36 char")],
)
def test_lengths_of_socket_paths(short_path: Path, length: int, verdict: str, text: str) -> None:
    """107 octets: the path, a slash, the name and .sock.ctrl."""
    run = f"/{'x' * (length - 1)}"
    found = look("socket paths", configured(short_path, runtime_dir=run))
    assert (found.verdict, text in found.reason) == (verdict, True), found.reason


def test_anchors(short_path: Path) -> None:
    inside = look("rollback", configured(short_path))
    assert inside.verdict == "ok"
    found = look("rollback", configured(short_path, anchor_dir=f"{short_path}/a"))
    assert (found.verdict, "turned back with it" in found.reason) == ("warning", True)
    off, _ = examine(
        [check for check in places.CHECKS if check.name == "rollback"],
        configured(short_path, rollback="off"),
    )
    assert off.verdict == "warning"


def test_open_files(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = configured(short_path)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    assert look("open files", configuration).verdict == "warning"
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    assert look("open files", configuration).verdict == "ok"


def test_a_file_system_without_lists(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that is neither root nor a member cannot give a socket to the group."""

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    monkeypatch.setattr(os, "getegid", lambda: NOBODY)
    monkeypatch.setattr(os, "getgroups", list)
    configuration = configured(short_path, sockets={"group": "daemon"})
    with monkeypatch.context() as patch:
        patch.setattr(acl, "share", refuse)
        found = look("who may attach", configuration)
    assert found.verdict == "bad"
    assert found.remedy.startswith("usermod -aG daemon nobody")
    assert list(configuration.runtime_dir.iterdir()) == []
    found = look("who may attach", configuration)
    assert (found.verdict, found.reason) == ("ok", "group daemon, by access control lists")
    monkeypatch.setattr(os, "getgroups", lambda: [1])
    assert "is a member" in look("who may attach", configuration).reason


def child(*command: str) -> Any:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def test_the_trial_is_of_the_real_sandbox() -> None:
    trial = (sys.executable, "-m", "vtpmd.worker.trial")
    found = child(*trial, "require")
    assert found["refused"] == ""
    assert {"landlock", "seccomp", "limits"} < set(found["active"])
    without = child(*without_landlock.PREFIX, *trial, "require")
    assert "sandbox part landlock can't be had: the kernel has no Landlock" in without["refused"]
    effort = child(*without_landlock.PREFIX, *trial, "best-effort")
    assert effort["refused"] == ""
    assert effort["active"]["landlock"] == "unavailable: the kernel has no Landlock"


@pytest.mark.parametrize(
    ("limit", "swaps", "verdict"),
    [
        (64 << 10, "Filename\n/dev/sda2 partition\n", "warning"),
        (64 << 10, "Filename\n", "ok"),
        (8 << 20, "Filename\n/dev/sda2 partition\n", "ok"),
    ],
)
def test_keys_that_may_be_swapped_out(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, swaps: str, verdict: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    file = short_path / "swaps"
    file.write_text(swaps)
    monkeypatch.setattr(places, "_SWAPS", file)
    assert look("locked memory", configured(short_path)).verdict == verdict
