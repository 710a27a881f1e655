"""Servers that take connections and never answer: Flagger hears from the gate before it gives up, after 10 s."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from modelpack.gate.cluster import InCluster
from modelpack.gate.engine import Gate
from modelpack.gate.rollouts import Call
from modelpack.gate.store import Store
from tests.fakes.cluster import CANARIES, FakeApi, canary, config_map, workload
from tests.fakes.rehearsal import V1, V2, webhook

pytest.importorskip("fastapi")

PATIENCE = 10.0  # seconds that Flagger waits
GATE = """\
apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: mpg}
horizon: 10m
checks:
- {name: errors, type: proportion, total: 'rq{role="${role}"}', bad: 'rq{role="${role}",code="5"}', margin: 0.02,
   min_sample: 50}
"""


@pytest.fixture
def hanging() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def without_api_server(hanging: str, tmp_path: Path) -> Iterator[str]:
    """The address of a gate whose API server hangs."""
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": hanging}}],
        "users": [{"name": "me", "user": {}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    command = [sys.executable, "-m", "modelpack", "gate", "serve", "--cluster", "--state", str(tmp_path), "--json"]
    environ = {**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")}
    process = subprocess.Popen([*command, "--prometheus", hanging], stdout=subprocess.PIPE, text=True, env=environ)
    try:
        assert process.stdout
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(20)


def test_an_api_server_that_hangs_keeps_no_call_too_long_however_many_there_are(without_api_server: str) -> None:
    def ask(number: int) -> tuple[int, str, float]:
        begun = time.monotonic()
        body = {**webhook(), "name": f"c{number}"}
        answer = requests.post(f"{without_api_server}/flagger/confirm-traffic-increase", json=body, timeout=30)
        return answer.status_code, answer.text, time.monotonic() - begun

    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(ask, range(60)))
        health = requests.get(f"{without_api_server}/healthz", timeout=5)
    assert {status for status, _, _ in answers} == {403}
    assert all(text.startswith("hold: ") and len(text) > len("hold: \n") for _, text, _ in answers)
    assert max(took for _, _, took in answers) < PATIENCE
    assert health.ok


def test_a_prometheus_that_hangs_holds_within_ten_seconds_and_keeps_no_call(hanging: str, tmp_path: Path) -> None:
    api = FakeApi()
    for each in (canary(), workload(V2), workload(V1, "mpg-primary"), config_map("gate-mpg", {"gate.yaml": GATE})):
        api.put(each)
    api.objects[CANARIES.format("default") + "/mpg"]["status"]["canaryWeight"] = 10
    store = Store.in_file(tmp_path / "gate.sqlite")
    gate = Gate(InCluster(api.cluster, hanging), store)
    gate.start()
    try:
        begun, status, slowest = time.monotonic(), 200, 0.0
        while status == 200:
            assert time.monotonic() - begun < PATIENCE, "it goes on without metrics"
            asked = time.monotonic()
            answer = gate.answer(Call("confirm-traffic-increase", "default", "mpg", "Progressing", "c1", "mpg"))
            slowest, status = max(slowest, time.monotonic() - asked), answer.status
            time.sleep(0.1)
        assert "cannot be read" in answer.decision.reason and answer.decision.verdict == "hold"
        assert slowest < 2
    finally:
        gate.stop()
        store.close()
