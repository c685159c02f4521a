"""Dashboard and alerts: every query is run by promtool on metrics as a daemon writes them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from vtpmd.supervisor.states import Cause
from vtpmd.supervisor.tally import begin
from vtpmd.telemetry.metrics import Gauge, Metrics

CONFIG = Path(__file__).parents[2] / "config"
DASHBOARD = json.loads((CONFIG / "grafana-dashboard.json").read_text())
RULES_FILE = CONFIG / "prometheus-alerts.yaml"
RULES: list[dict[str, Any]] = yaml.safe_load(RULES_FILE.read_text())["groups"][0]["rules"]
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
MINUTES = 120
SOON = 86400.0 * 10

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not installed"
)


def recorded(trouble: bool) -> dict[str, float]:
    """The series of a daemon as text, with how much each of them grows in a minute."""
    metrics = Metrics()
    begin(metrics)
    by = 1.0 if trouble else 0.0
    for kind in ("storage-full", "state-damaged", "defect"):
        metrics.count("worker_events", kind, by=by)
    metrics.count("worker_events", "powered-on")
    metrics.count("transitions", Cause.CRASHED.name.lower(), by=by)
    metrics.count("transitions", Cause.ASLEEP.name.lower())
    metrics.count("tpm_responses", "default-v1", "success", by=60)
    metrics.count("tpm_responses", "default-v1", "lockout", by=by)
    metrics.count("nv_writes", "default-v1")
    metrics.count("key_uses", "main", "unwrap", "failed", by=by)
    metrics.count("key_uses", "main", "unwrap", "done")
    metrics.histogram("key_use_seconds", "main", (1.0, 2.0)).observe(0.5)
    metrics.histogram("tpm_command_seconds", "default-v1", (0.1, 1.0)).observe(
        0.7 if trouble else 0.01
    )
    return _series(metrics.exposition([]))


def standing(trouble: bool) -> dict[str, float]:
    """The series that do not grow."""
    number = float(trouble)
    gauges = [
        Gauge("instances", "", ("state",), {("failed",): number, ("locked",): number}),
        Gauge("instances_handed_over", "", ("handover",), {("lent",): number}),
        Gauge("worker_memory_bytes", "", (), {(): 1.0}),
        Gauge("worker_memory_largest_bytes", "", (), {(): 1.0}),
        Gauge(
            "certificate_end_timestamp_seconds",
            "",
            ("certificate",),
            {("ek",): SOON if trouble else 1e10},
        ),
    ]
    names = {f"vtpmd_{gauge.name}" for gauge in gauges}
    series = _series(Metrics().exposition(gauges))
    found = {name: value for name, value in series.items() if name.split("{")[0] in names}
    return found | {'up{job="vtpmd"}': float(not trouble)}


def _series(text: bytes) -> dict[str, float]:
    lines = [line for line in text.decode().splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def inputs(trouble: bool) -> list[dict[str, str]]:
    growing = {name: f"0+{by}x{MINUTES}" for name, by in recorded(trouble).items()}
    constant = {name: f"{value}+0x{MINUTES}" for name, value in standing(trouble).items()}
    return [{"series": name, "values": values} for name, values in (growing | constant).items()]


def promtool(directory: Path, trouble: bool, **checks: object) -> tuple[int, str]:
    case = {"interval": "1m", "input_series": inputs(trouble), **checks}
    file = directory / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES_FILE)], "tests": [case]}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@needs_promtool
def test_every_query_of_the_dashboard_shows_something(tmp_path: Path) -> None:
    """promtool is told to expect nothing, and says what it got in place of it."""
    checks = [{"expr": expr, "eval_time": f"{MINUTES}m"} for expr in QUERIES]
    status, said = promtool(tmp_path, trouble=True, promql_expr_test=checks)
    assert status == 1
    got = re.findall(r"(?s)expr: (.*?), time: .*?\n\s+exp:\s*(.*?)\n\s+got:\s*(.*?)\n", said)
    answers = {json.loads(expr): (wanted, found) for expr, wanted, found in got}
    assert set(answers) == set(QUERIES), said
    assert all(wanted == "nil" and found not in ("", "nil") for wanted, found in answers.values())
    assert "NaN" not in said


@needs_promtool
@pytest.mark.parametrize("trouble", [True, False])
def test_each_alert_is_raised_by_its_trouble_and_not_without(tmp_path: Path, trouble: bool) -> None:
    subprocess.run(["promtool", "check", "rules", RULES_FILE], check=True, capture_output=True)
    checks = [
        {
            "expr": f'count(ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}}) > 0',
            "eval_time": "100m",
        }
        for rule in RULES
    ]
    status, said = promtool(tmp_path, trouble, promql_expr_test=checks)
    raised = {
        name for name in (rule["alert"] for rule in RULES) if f'alertname=\\"{name}\\"' in said
    }
    assert raised == ({rule["alert"] for rule in RULES} if trouble else set()), said
    assert status == int(trouble)


def test_each_alert_says_what_to_do() -> None:
    for rule in RULES:
        assert set(rule["annotations"]) == {"summary", "action"}
        assert rule["labels"]["severity"] in ("warning", "critical")
