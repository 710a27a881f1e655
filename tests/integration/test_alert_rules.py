"""Prometheus' own rule tester runs the alerts over series as the gate shows them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import available
from tests.integration.servers.process import program

FOLDER = Path(__file__).parents[2] / "manifests" / "prometheus"
MODEL = {"namespace": "default", "name": "mpg", "model": "mpg"}
SIGNAL = {**MODEL, "signal": "live-error", "kind": "labels"}
WHERE = 'namespace="default",name="mpg",model="mpg"'
STATUS = f'modelpack_gate_signal_status{{{WHERE},signal="live-error",kind="labels",status="%s"}}'
VERDICT = f'modelpack_gate_verdict{{{WHERE},verdict="hold"}}'
BEYOND = "mpg in default: live-error is beyond its limit"
UNREAD = "mpg in default: nobody can read what live-error rests on"
WAITS = "default/mpg: the rollout of mpg waits for a person"
AWAY = "the gate is away; nothing is promoted, rolled back or watched"
UP = 'up{app="modelpack-gate"}'


@contextmanager
def installed() -> Iterator[str]:
    yield program("promtool", "apt-get install prometheus")


@pytest.fixture(scope="module")
def promtool() -> Iterator[str]:
    """Where promtool is."""
    with available(installed) as found:
        yield found


@pytest.mark.parametrize(
    ("alert", "series", "fires", "labels", "summary"),
    [
        ("ModelStale", {STATUS % "stale": "0x9 1x9"}, "11m", {**SIGNAL, "status": "stale"}, BEYOND),
        ("ModelStale", {STATUS % "stale": "0x9 1 0x9"}, "", {}, ""),  # for a moment
        ("ModelStale", {STATUS % "ok": "1x20", STATUS % "stale": "0x20"}, "", {}, ""),
        ("ModelNotWatched", {STATUS % "unknown": "1x30"}, "15m", {**SIGNAL, "status": "unknown"}, UNREAD),
        ("RolloutHeld", {VERDICT: "1x30"}, "15m", {**MODEL, "verdict": "hold"}, WAITS),
        ("GateDown", {UP: "1x5 0x20"}, "12m", {}, AWAY),
        ("GateDown", {}, "6m", {}, AWAY),
        ("GateDown", {UP: "1x30"}, "", {}, ""),
    ],
)
def test_an_alert_fires_when_it_should(
    promtool: str, tmp_path: Path, alert: str, series: dict[str, str], fires: str, labels: dict[str, str], summary: str
) -> None:
    severity = "critical" if alert == "GateDown" else "warning"
    known = {"app": "modelpack-gate"} if alert == "GateDown" else {}
    one = {"exp_labels": {**labels, **known, "severity": severity}, "exp_annotations": {"summary": summary}}
    cases: list[dict[str, Any]] = [{"eval_time": "20s", "alertname": alert, "exp_alerts": []}]
    cases.append({"eval_time": fires or "20m", "alertname": alert, "exp_alerts": [one] if fires else []})
    test = {
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "alert_rule_test": cases,
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(FOLDER / "rules.yml")], "tests": [test]}))  # JSON is YAML
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_loads_the_rules_that_are_shipped(promtool: str) -> None:
    config = (FOLDER / "prometheus.yml").read_text()
    assert "rule_files: [rules.yml]" in config and "rules.yml]" in (FOLDER / "kustomization.yaml").read_text()
    done = subprocess.run(
        [promtool, "check", "rules", str(FOLDER / "rules.yml")], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0 and "4 rules found" in done.stdout, done.stdout + done.stderr
