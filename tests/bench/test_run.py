"""scripts/bench, quickly: whole runs with real hosts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench import idle as idle_tpms
from tests.bench.hosts import VtpmdHost
from tests.bench.idle import CPU, LIST, PRIVATE, PSS, SUPERVISOR, WAIT, ZYGOTE, idle

pytestmark = pytest.mark.served
QUICK = ("--scale", "0.01", "--rounds", "1", "--instances", "0")


def _bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *QUICK, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def _rows(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    latency: dict[str, Any] = json.loads(done.stdout)["latency"]
    return latency


@pytest.fixture
def one_cpu() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_both_are_measured_in_each_placement(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    done = _bench("--only", "NV_", "--rounds", "2", "--json", str(file))
    assert done.returncode == 0, done.stderr
    run = json.loads(file.read_text())
    places = ["one CPU", "two CPUs"] if len(os.sched_getaffinity(0)) > 1 else ["one CPU"]
    assert list(run["latency"]) == list(run["geometric_mean"]) == places
    for place in places:
        assert f"\n{place}\n" in done.stdout
        *commands, sync = run["latency"][place]
        assert commands == ["NV_Read 64", "NV_Write 64 (durable)"]
        (synced,) = run["latency"][place].pop(sync).values()
        assert 0 < synced["median"] < run["latency"][place][commands[1]]["vtpmd"]["p99"]
        for results in run["latency"][place].values():
            for row in (results["vtpmd"], results["swtpm"]):
                assert len(row["rounds"]) == 2
                assert 0 < row["median"] <= row["p99"]
                assert 0 < row["cpu"] < 1000
    shown = _bench("--read", str(file), "--before", str(file), "--plot", str(tmp_path / "plots"))
    assert "/before" in shown.stdout
    assert "vtpmd before" in (tmp_path / "plots/latency-one-CPU.svg").read_text()


def test_one_cpu_and_no_swtpm_are_told(one_cpu: None, tmp_path: Path) -> None:
    (tmp_path / "vtpmd").symlink_to("/nowhere")  # PATH: no swtpm there
    done = _bench("--only", "GetRandom", "--json", "-", PATH=str(tmp_path))
    assert list(_rows(done)) == ["one CPU"]
    assert list(_rows(done)["one CPU"]["GetRandom 32"]) == ["vtpmd"]
    assert "swtpm is not installed: vtpmd is measured alone" in done.stderr
    assert "one CPU may be used: nothing is measured on two" in done.stderr


def test_another_checkout_is_measured_in_the_same_run(short_path: Path) -> None:
    arguments = ("--hosts", "vtpmd", "--only", "GetRandom", "--json", "-")
    done = _bench("--before", str(short_path), *arguments)
    assert done.returncode == 2
    assert ".venv/bin/vtpmd is missing" in done.stderr
    short_path.chmod(0o711)  # the daemon may run as somebody else
    (short_path / ".venv").mkdir()
    (short_path / ".venv/bin").symlink_to(Path(sys.executable).parent)
    done = _bench("--before", str(short_path), *arguments)
    for rows in _rows(done).values():
        assert rows["GetRandom 32"].keys() == {"vtpmd", "before"}


def test_creation_is_timed(one_cpu: None) -> None:
    rows = _rows(_bench("--only", "create", "--json", "-"))["one CPU"]
    assert rows.keys() == {"API create, swtpm_setup", "vtpmctl create, swtpm_setup"}
    for row in rows.values():
        assert row["vtpmd"]["median"] > 1
        assert row["swtpm"]["median"] > 1


def test_certificates_are_timed_where_they_are_given(one_cpu: None) -> None:
    rows = _rows(_bench("--only", "running TPM", "--json", "-"))["one CPU"]
    assert list(rows) == ["ek csr, running TPM", "ek renew, running TPM"]
    for row in rows.values():
        assert list(row) == ["vtpmd"]
        assert row["vtpmd"]["median"] > 1


def test_a_verifier_is_timed_inside_and_as_a_command(one_cpu: None) -> None:
    rows = _rows(_bench("--only", "verify", "--json", "-"))["one CPU"]
    inside, command = rows["verify quote and log, inside"], rows["vtpmctl verify quote, with log"]
    assert list(inside) == list(command) == ["vtpmd"]
    assert 0 < inside["vtpmd"]["median"] < command["vtpmd"]["median"]


def test_an_earlier_run_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    done = _bench("--read", str(tmp_path / "none.json"))
    assert done.returncode == 2
    assert "none.json" in done.stderr


@pytest.mark.parametrize("fewest", [4, 5])
def test_idle_instances_are_counted(
    fewest: int, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_tpms, "FEWEST", fewest)
    host = VtpmdHost(short_path)
    try:
        found = idle({"vtpmd": host}, {"vtpmd": host.create("first")}, 4, scale=0.02)
        status, instances = host._daemon.request("GET", "/instances")
        assert (status, len(instances["instances"])) == (200, 4)
    finally:
        host.close()
    assert 0 < found[PRIVATE]["vtpmd"] < found[PSS]["vtpmd"]
    assert found[ZYGOTE]["vtpmd"] > found[PRIVATE]["vtpmd"]
    assert found[LIST]["vtpmd"] > 0
    assert found[WAIT]["vtpmd"] > 0
    assert CPU in found
    assert ("vtpmd" in found[SUPERVISOR]) is (fewest == 4)
