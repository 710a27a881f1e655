"""What serves is watched: the example's server, a real Prometheus with the shipped rules, and a gate as a process."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from tests.example import Example, needs
from tests.fakes.cluster import FakeApi, canary, config_map, workload
from tests.fakes.rehearsal import V1, serve, webhook
from tests.integration.conftest import available
from tests.integration.servers.gate import QUICK
from tests.integration.servers.process import free_port, running
from tests.integration.servers.prometheus import exporter, job, server

pytestmark = needs("sklearn", "vega_datasets", "prometheus_client", "fastapi", "kubernetes")

RULES = Path(__file__).parents[2] / "manifests" / "prometheus" / "rules.yml"
GATE = """\
apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: mpg}
horizon: 10m
checks:
- {name: owner, type: approval, when: before-promotion}
signals:
- {name: live-error, type: labels, metric: mae, limit: %(mae)g, min_sample: 20}
- {name: predictions, type: drift, against: reference, limit: 0.25, min_sample: 50}
- name: errors
  type: proportion
  total: mpg_requests_total{app="${name}-${role}"}
  bad: mpg_requests_total{app="${name}-${role}",code="500"}
  limit: %(errors)g
  min_sample: 50
- name: slow
  type: latency
  histogram: envoy_cluster_upstream_rq_time{envoy_cluster_name="${namespace}_${name}-${role}_8080"}
  threshold: 100
  unit: ms
  limit: 0.05
  min_sample: 50
- name: memory
  type: level
  query: max(process_resident_memory_bytes{app="${name}-primary"})
  max: %(memory)d
  for: 3s
- {name: cpu, type: level, query: 'max(rate(process_cpu_seconds_total{app="${name}-primary"}[10s]))', max: 64, for: 3s}
- name: odd
  type: latency
  histogram: envoy_cluster_upstream_rq_time{envoy_cluster_name="${namespace}_${name}-${role}_8080"}
  threshold: 77
  limit: 0.05
  min_sample: 50
"""
BAD = {"mae": 3.0, "errors": 0.02, "memory": 1_000_000}
GOOD = {"mae": 300.0, "errors": 0.9, "memory": 4_000_000_000}
FAR = {"predictions": {"bounds": [1, 2, 3], "counts": [50, 50, 50, 1]}}


class Scene:
    """v4 of the example serves, which cannot answer for one car of five."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        mpg = Example("mpg")
        self.root, self.stack = root, stack
        self.port, self.told, self.heard = free_port(), free_port(), list[dict[str, Any]]()
        self.api = FakeApi()
        for each in (canary(phase="Succeeded"), workload(V1), workload(V1, "mpg-primary")):
            self.api.put(each)
        self.configure(**BAD)
        mpg.python("train.py", "v4", "--out", root)
        (root / "v4" / ".modelpack.json").write_text('{"version": "v4"}')
        feedback = {"MODEL_FEEDBACK": f"http://127.0.0.1:{self.told}"}
        self.model = stack.enter_context(mpg.serving(root / "v4", feedback))
        self.envoy = stack.enter_context(exporter())
        rules = root / "rules.yml"
        rules.write_text(re.sub(r"for: \d+m", "for: 2s", RULES.read_text()))  # promtool tests the times
        jobs = [
            job("envoy", [self.envoy.url]),
            job("servers", [self.model], app="mpg-primary"),
            job("gate", [f"127.0.0.1:{self.port}"], app="modelpack-gate"),
        ]
        self.prometheus, self.process = stack.enter_context(available(lambda: server(root / "prom", jobs, [rules])))
        self.kubernetes = stack.enter_context(serve(self._answer))
        self.receiver = stack.enter_context(serve(self._hear))
        cluster = {"name": "c", "cluster": {"server": self.kubernetes}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        (root / "kubeconfig").write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "clusters": [cluster],
                    "contexts": [context],
                    "users": [{"name": "u", "user": {"token": "t"}}],
                }
            )
        )
        self.gate = stack.enter_context(ExitStack())
        self.start()

    def start(self) -> None:
        words = ("gate", "serve", "--cluster", "--prometheus", self.prometheus, "--state", self.root)
        ports = ("--port", self.port, "--feedback-port", self.told, "--alerts", f"{self.receiver}/hook?key=sesame")
        env = {**os.environ, "KUBECONFIG": str(self.root / "kubeconfig")}
        command = [sys.executable, *QUICK, *map(str, (*words, *ports))]
        self.gate.enter_context(running(command, self.root / "gate.log", lambda text: "gate at http" in text, env=env))

    def configure(self, **limits: float) -> None:
        files = {"gate.yaml": GATE % limits, "reference.json": json.dumps(FAR)}
        self.api.put(config_map("gate-mpg", files))

    def health(self) -> dict[str, Any]:
        answer = requests.get(f"http://127.0.0.1:{self.port}/api/v1/models/mpg/health", timeout=20)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def statuses(self) -> dict[str, str]:
        return {each["name"]: each["status"] for each in self.health()["signals"]}

    def prom(self, path: str, **query: str) -> Any:
        return requests.get(f"{self.prometheus}/api/v1/{path}", params=query, timeout=5).json()["data"]

    def firing(self) -> set[tuple[str, str]]:
        """(alert, signal) of those that fire in Prometheus."""
        found = [each for each in self.prom("alerts")["alerts"] if each["state"] == "firing"]
        return {(each["labels"]["alertname"], each["labels"].get("signal", "")) for each in found}

    def news(self) -> list[tuple[str, str]]:
        """What the receiver heard: signal and status."""
        return [(each["alerts"][0]["labels"]["signal"], each["status"]) for each in self.heard]

    def predict(self, times: int) -> list[str]:
        """The ids of what was answered."""
        ids, lines = [], itertools.cycle((Example("mpg").folder / "traffic.jsonl").read_text().splitlines())
        for line in itertools.islice(lines, times):
            answer = requests.post(f"{self.model}/v1/models/mpg:predict", json=json.loads(line)["body"], timeout=5)
            ids += answer.json().get("ids", [])
        return ids

    def say(self, ids: list[str], truth: float) -> None:
        labels = [{"id": each, "truth": truth} for each in ids]
        assert requests.post(f"{self.model}/v1/models/mpg:feedback", json={"labels": labels}, timeout=5).ok

    def _answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        parts = urlsplit(path)
        return self.api.get(parts.path, dict(parse_qsl(parts.query)), 5)

    def _hear(self, path: str, body: bytes) -> tuple[int, bytes]:
        assert path == "/hook?key=sesame"
        self.heard.append(json.loads(body))
        return 200, b""


def until(what: Callable[[], Any], wanted: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while (found := what()) != wanted:
        assert time.monotonic() < end, f"{found} is not {wanted}"
        time.sleep(0.2)


def timed(what: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.monotonic()
    return what(), time.monotonic() - begun


def test_what_serves_is_watched_and_told_of_once(tmp_path: Path) -> None:
    with ExitStack() as stack:
        scene = Scene(tmp_path, stack)
        _watched(scene)


def _watched(s: Scene) -> None:
    hook = requests.post(f"http://127.0.0.1:{s.port}/flagger/confirm-rollout", json=webhook(), timeout=10)
    assert hook.status_code == 200
    name = 'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="default_mpg-primary_8080",le="%s"}'
    total = name.replace("_bucket", "_count").replace(',le="%s"', "")
    s.predict(40)  # a counter that Prometheus never saw at less has not gone up
    for series in (name % "100", name % "+Inf", total):
        s.envoy.add(series, 1)
    until(lambda: len(s.prom("query", query='mpg_requests_total{code="500"}')["result"]), 1)
    until(lambda: len(s.prom("query", query=total)["result"]), 1)
    ids = s.predict(200)
    for series, count in ((name % "100", 60), (name % "+Inf", 100), (total, 100)):
        s.envoy.add(series, count)
    s.say(ids, 90.0)

    stale = {"live-error", "predictions", "errors", "slow", "memory"}
    bad = {**dict.fromkeys(stale, "stale"), "cpu": "ok", "odd": "unknown"}
    until(s.statuses, bad)
    health = s.health()
    seen = {each["name"]: each for each in health["signals"]}
    assert (health["status"], health["version"]) == ("stale", "v4")
    assert seen["errors"]["value"] == pytest.approx(0.2, abs=0.1) and 100 < seen["errors"]["n"] < 300
    assert seen["slow"]["value"] == pytest.approx(0.4, abs=0.05) and "slower than 100 ms" in seen["slow"]["reason"]
    assert seen["memory"]["value"] > 5e6 and 0 <= seen["cpu"]["value"] < 64
    assert "77 is no bound of envoy_cluster_upstream_rq_time_bucket" in seen["odd"]["reason"]

    fires = {*(("ModelStale", each) for each in stale), ("ModelNotWatched", "odd")}
    until(s.firing, fires)
    series = s.prom("query", query='modelpack_gate_signal_status{namespace="default",model="mpg"} == 1')["result"]
    assert {each["metric"]["signal"]: each["metric"]["status"] for each in series} == bad
    (value,) = s.prom("query", query='modelpack_gate_signal_value{signal="slow"}')["result"]
    assert float(value["value"][1]) == pytest.approx(0.4, abs=0.05)
    until(lambda: sorted(s.news()), sorted((each, "firing") for each in stale))

    s.configure(**GOOD)
    s.say(ids, 20.0)
    better = bad | dict.fromkeys(("live-error", "errors", "memory"), "ok")
    until(s.statuses, better)
    ends = [(each, "resolved") for each in ("live-error", "errors", "memory")]
    until(lambda: sorted(s.news()), sorted([*((each, "firing") for each in stale), *ends]))
    until(s.firing, {("ModelStale", "predictions"), ("ModelStale", "slow"), ("ModelNotWatched", "odd")})

    s.gate.close()
    until(lambda: ("GateDown", "") in s.firing(), True)
    s.start()
    until(lambda: ("GateDown", "") in s.firing(), False)
    assert s.statuses() == better
    time.sleep(2)
    assert len(s.heard) == 8  # nothing is told again

    s.process.send_signal(signal.SIGSTOP)
    try:
        answer, seconds = timed(s.statuses)
    finally:
        s.process.send_signal(signal.SIGCONT)
    away = {"errors": "unknown", "memory": "unknown", "cpu": "unknown", "odd": "unknown"}
    assert answer == better | away and seconds < 10  # `slow` calls until somebody knows better
    until(s.statuses, better)
    s.process.terminate()
    s.process.wait(15)
    answer, seconds = timed(s.health)
    assert {each["name"]: each["status"] for each in answer["signals"]} == better | away and seconds < 5
    assert f"{s.prometheus}: cannot be read" in {each["name"]: each["reason"] for each in answer["signals"]}["cpu"]
    assert len(s.heard) == 8 and "sesame" not in (s.root / "gate.log").read_text()
