"""The gate as a process, spoken to over HTTP as Flagger does, through whole rollouts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from modelpack.reconcile.settle import Action, settle_once
from modelpack.registry import Via
from tests.fakes import git_serving as serving
from tests.fakes.rehearsal import V1, V2, V3, model_server
from tests.integration.servers.gate import GOOD, ProcessScene, Scene

pytest.importorskip("fastapi")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    with ExitStack() as stack:
        yield lambda canary=GOOD: Scene(tmp_path, stack, canary, model_server(0.1))


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., ProcessScene]]:
    with ExitStack() as stack:
        yield lambda canary=GOOD: ProcessScene(tmp_path, stack, canary, model_server(0.1))


def test_a_good_model_is_promoted_and_a_restart_goes_on_from_the_evidence(process: Callable[..., ProcessScene]) -> None:
    s = process()
    assert s.ask("confirm-rollout").status_code == 200
    assert s.rollouts() == []  # it never mints
    s.until("confirm-traffic-increase", 200)
    assert s.ask("confirm-promotion").status_code == 403
    s.folder.write(weight=50)
    s.traffic(60, 60)
    seen = s.counted()
    assert 100 < seen < 500
    before = s.whole()
    assert before["verdict"] == "undecided"

    assert s.end() == 0
    s.start()
    assert s.counted() == seen
    s.traffic(200, 200)
    s.until("confirm-promotion", 200)
    assert s.ask("rollback").status_code == 403
    s.folder.write(phase="Succeeded", weight=0)
    assert s.ask("post-rollout", phase="Succeeded").status_code == 200
    after = s.whole()
    assert (after["id"], after["state"], after["verdict"]) == (before["id"], "promoted", "accept")
    assert [each["weight"] for each in after["weights"]] == [0, 50]
    assert after["checks"][1]["history"] and after["checks"][0]["n"] == 40
    assert {each["hook"] for each in after["events"]} >= {
        "confirm-traffic-increase",
        "confirm-promotion",
        "post-rollout",
    }


def test_the_golden_set_rejects_before_any_traffic(scene: Callable[..., Scene]) -> None:
    s = scene(canary=model_server(error=9.0))
    assert s.ask("confirm-traffic-increase").status_code == 403
    assert "floor" in s.until("rollback", 200)
    assert s.ask("confirm-traffic-increase").status_code == 403
    assert s.ask("confirm-promotion").status_code == 403
    s.folder.write(phase="Failed")
    s.ask("post-rollout", phase="Failed")
    failed = s.rollouts("?state=failed&settled=false")
    assert len(failed) == 1 and failed[0]["image"] == V2 and failed[0]["primary_image"] == V1
    note = requests.post(f"{s.url}/api/v1/rollouts/{failed[0]['id']}/settled", json={"note": "reverted"}, timeout=5)
    assert note.status_code == 200
    assert s.rollouts("?state=failed&settled=false") == []
    assert len(s.whole()["golden"]) == 20 and s.whole()["settled_note"] == "reverted"
    report = requests.get(f"{s.url}/rollouts/{failed[0]['id']}/report.html", timeout=5)
    assert report.status_code == 200 and "within the floor" not in report.text


def test_errors_under_traffic_reject(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.until("confirm-traffic-increase", 200)
    s.folder.write(weight=20)
    s.traffic(20, 100, looks=12, bad=6)
    assert "more bad requests" in s.until("rollback", 200)
    assert s.ask("confirm-traffic-increase").status_code == 403


def test_dead_metrics_and_no_requests_hold_until_they_are_back(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.until("confirm-traffic-increase", 200)
    s.folder.write(weight=20)
    s.traffic(20, 80, looks=4)
    assert s.ask("confirm-traffic-increase").status_code == 200
    s.envoy.alive = False
    assert "cannot be read" in s.until("confirm-traffic-increase", 403)
    assert s.ask("rollback").status_code == 403
    s.envoy.alive = True
    s.traffic(20, 80, looks=4)
    assert s.ask("confirm-traffic-increase").status_code == 200
    assert "no request has reached the canary" in s.until("confirm-traffic-increase", 403)
    assert s.whole()["final"] is False


def test_another_image_under_the_same_checksum_gets_no_verdict(scene: Callable[..., Scene]) -> None:
    s = scene(canary=model_server(error=9.0))
    s.until("rollback", 200)
    url = s.folder.target["canary"]["url"]
    s.folder.write(canary={"url": url, "image": V3})
    assert s.ask("rollback").status_code == 403
    s.folder.write(canary={"url": url, "image": V1})
    assert s.ask("rollback").status_code == 200  # withdrawn: Git names the primary's image again
    s.folder.write(canary={"url": url, "image": V3})
    assert s.ask("confirm-traffic-increase", checksum="c2").status_code == 403
    assert [each["state"] for each in s.rollouts()] == ["active", "superseded"]


def test_a_crash_loses_no_verdict(process: Callable[..., ProcessScene]) -> None:
    s = process(canary=model_server(status=500))
    assert "40 of 40" in s.until("rollback", 200)
    s.end(signal.SIGKILL)
    s.start()
    assert s.ask("rollback").status_code == 200


def test_pre_rollout_waits_for_the_golden_set(scene: Callable[..., Scene]) -> None:
    assert scene().ask("pre-rollout").status_code == 200


def test_calls_on_one_connection_do_not_wait_for_acknowledgements(gate_url: str) -> None:
    seconds = []
    with requests.Session() as session:
        for _ in range(40):
            start = time.monotonic()
            session.get(f"{gate_url}/healthz", timeout=5)
            seconds.append(time.monotonic() - start)
    assert sorted(seconds)[10] < 0.03  # a delayed acknowledgement takes 0.04


def test_metrics_show_each_check_beside_its_margin(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.until("confirm-traffic-increase", 200)
    s.folder.write(weight=50)
    s.traffic(20, 30, looks=6)
    canary = 'model="mpg",name="mpg",namespace="default"'
    text = requests.get(f"{s.url}/metrics", timeout=5).text
    for line in (
        f'modelpack_gate_verdict{{{canary},verdict="undecided"}} 1.0',
        f"modelpack_gate_weight{{{canary}}} 50.0",
        f'modelpack_gate_check_margin{{check="errors",{canary}}} 0.02',
        f'modelpack_gate_check_value{{check="errors",{canary},role="canary"}} 0.0',
        f'modelpack_gate_check_requests{{check="golden",{canary},role="primary"}} 40.0',
        f'modelpack_gate_rollouts{{{canary},state="active"}} 1.0',
        'modelpack_gate_webhooks_total{answer="200",hook="confirm-traffic-increase"} 1.0',
    ):
        assert line in text
    counts = re.findall(r'modelpack_gate_check_requests\{check="errors",[^}]*\} ([\d.]+)', text)
    assert len(counts) == 2 and all(float(count) > 0 for count in counts)


V1_IMAGE, V2_IMAGE = serving.image("v1"), serving.image("v2")


@pytest.mark.parametrize(
    ("last", "action", "git_names", "error"),
    [
        ({"phase": "Failed"}, Action.REVERT, "v1", 9.0),
        ({"phase": "Failed"}, Action.REVERT, "v1", 0.0),  # Flagger gave it up for a reason of its own
        ({"phase": "Failed", "primary": V2_IMAGE}, Action.HOLD, "v2", 0.0),  # a promotion that failed half-way
        ({"phase": "Failed", "first": V2_IMAGE, "primary": V2_IMAGE}, Action.HOLD, "v2", 9.0),  # something else changed
        ({"phase": "Failed", "canary": V1_IMAGE}, Action.ACKNOWLEDGE, "v2", 9.0),  # withdrawn in mid-analysis
        ({"phase": "Failed", "canary": V3}, None, "v2", 9.0),  # superseded
        ({"phase": "Succeeded", "primary": V2_IMAGE}, None, "v2", 0.0),
    ],
)
def test_settle_asks_the_gate_what_became_of_a_rollout(
    scene: Callable[..., Scene],
    tmp_path: Path,
    last: dict[str, str],
    action: Action | None,
    git_names: str,
    error: float,
) -> None:
    s = scene(canary=model_server(error))
    urls = {role: s.folder.target[role]["url"] for role in ("canary", "primary")}
    s.folder.write(
        canary={"url": urls["canary"], "image": V2_IMAGE},
        primary={"url": urls["primary"], "image": last.get("first", V1_IMAGE)},
    )
    s.until("rollback", 200) if error else s.until("confirm-traffic-increase", 200)
    bare = serving.bare(tmp_path / "bare", "v2")
    assert tuple(settle_once(s.url, str(bare), "main", Via(), str)) == ()  # not before it is over

    ran = {role: {"url": urls[role], "image": last[role]} for role in urls if role in last}
    s.folder.write(phase="Promoting" if "primary" in last else "Progressing", **ran)
    s.ask("rollback")
    s.folder.write(phase=last["phase"])
    s.ask("post-rollout", phase=last["phase"])
    done = tuple(settle_once(s.url, str(bare), "main", Via(), str))
    assert [each.action for each in done] == ([action] if action else [])
    assert serving.served(bare) == serving.deployment(git_names)
    assert tuple(settle_once(s.url, str(bare), "main", Via(), str)) == ()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/flagger/rollback", "{", 422),
        ("POST", "/flagger/rollback", "[]", 422),
        ("POST", "/flagger/rollback", '{"name": 1, "namespace": "default"}', 422),
        ("POST", "/flagger/rollback", '{"name": "\\ud800", "namespace": "a\\u0000"}', 422),
        ("POST", "/flagger/rollback", b'{"name": "\xff"}', 400),
        ("POST", "/flagger/rollback", "[" * 50_000, 400),
        ("POST", "/flagger/rollback", "x" * 100_000, 413),
        ("POST", "/flagger/nothing", "{}", 422),
        ("GET", "/api/v1/rollouts/%00", "", 404),
        ("GET", "/api/v1/rollouts?state=odd", "", 422),
        ("GET", "/rollouts/none", "", 404),
        ("GET", "/rollouts/none/report.html", "", 404),
        ("GET", "/assets/%2e%2e/report.py", "", 404),
        ("GET", "/api/v1/models/mpg", "", 200),
        ("GET", "/api/v1/models/none", "", 404),
        ("GET", "/api/v1/models/%2e%2e", "", 422),
        ("GET", "/", "", 200),
        ("GET", "/healthz", "", 200),
        ("GET", "/readyz", "", 200),
        ("GET", "/metrics", "", 200),
        ("GET", "/openapi.json", "", 200),
    ],
)
def test_odd_requests_get_a_sentence(gate_url: str, method: str, path: str, body: Any, status: int) -> None:
    answer = requests.request(
        method, gate_url + path, data=body, headers={"Content-Type": "application/json"}, timeout=5
    )
    assert answer.status_code == status, answer.text


@pytest.fixture(scope="module")
def gate_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ExitStack() as stack:
        yield ProcessScene(tmp_path_factory.mktemp("gate"), stack, model_server(), model_server()).url


def test_schemathesis_finds_no_server_error(gate_url: str) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{gate_url}/openapi.json",
        "--url",
        gate_url,
    ]
    options = ["--checks", "not_a_server_error", "--max-examples", "20", "--seed", "1"]
    ran = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]


def test_a_port_in_use_is_one_sentence(gate_url: str, tmp_path: Path) -> None:
    port = gate_url.rpartition(":")[2]
    command = [sys.executable, "-m", "modelpack", "gate", "serve", "--rehearsal", str(tmp_path), "--port", port]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ran.returncode == 5
    assert ran.stderr.count("\n") == 1 and "cannot be listened on" in ran.stderr


def test_labels_that_come_late_say_when_the_model_is_stale(process: Callable[..., ProcessScene]) -> None:
    s = process()
    gate = s.folder.root / "models" / "mpg" / "gate.yaml"
    gate.write_text(
        gate.read_text() + "signals:\n- {name: live, type: labels, metric: mae, limit: 2, min_sample: 20}\n"
    )

    def post(path: str, **body: Any) -> requests.Response:
        return requests.post(f"{s.url}/api/v1/{path}", json=body, timeout=5)

    def stale() -> list[bool]:
        found = requests.get(f"{s.url}/api/v1/models/mpg/signals", timeout=5)
        return [each["stale"] for each in found.json()["signals"]]

    ids = [f"r{number}" for number in range(30)]
    predictions = [{"id": each, "prediction": 25.0, "version": "v1"} for each in ids]
    assert post("models/mpg/predictions", predictions=predictions).json() == {"new": 30, "unknown": 0}
    assert stale() == [False]
    labels = [{"id": each, "truth": 20.0} for each in [*ids, "nobody-asked"]]
    assert post("models/mpg/labels", labels=labels).json() == {"new": 31, "unknown": 1}
    assert stale() == [True]
    health = requests.get(f"{s.url}/api/v1/models/mpg/health", timeout=5).json()
    assert (health["status"], health["version"], health["namespace"]) == ("stale", "v1", "default")
    (signal,) = health["signals"]
    assert (signal["status"], signal["value"], signal["limit"], signal["n"]) == ("stale", 5.0, 2.0, 30)
    alert = {"status": "firing", "labels": {"alertname": "FarOff", "model": "mpg"}, "startsAt": "2026-01-01T00:00:00Z"}
    assert post("alerts", version="4", status="firing", alerts=[alert]).json()["new"] == 1
    assert stale() == [True, True]
    assert s.end() == 0
    s.start()
    assert stale() == [True, True]

    for path, body in (
        ("models/mpg/labels", {"labels": [{"id": "a\u0000", "truth": 1}]}),
        ("models/mpg/labels", {"labels": [{"id": "a"}]}),
        ("models/Mpg!/labels", {"labels": []}),
        ("models/mpg/predictions", {"predictions": [{"id": "a", "prediction": 1}] * 1001}),
    ):
        assert post(path, **body).status_code == 422, (path, body)
    for path in ("/signals", "/health", ""):
        answer = requests.get(f"{s.url}/api/v1/models/unknown{path}", timeout=5)
        assert answer.status_code == 404 and answer.text.startswith("there is no model unknown: ")


def test_without_signals_health_says_the_primarys_version(scene: Callable[..., Scene]) -> None:
    s = scene()
    url = f"{s.url}/api/v1/models/mpg/health"
    assert requests.get(url, timeout=5).json()["version"] == "", "no Canary of it ever called"
    s.until("confirm-traffic-increase", 200)
    health = requests.get(url, timeout=5).json()
    assert (health["version"], health["status"]) == ("v1", "unwatched")


def test_a_rollouts_page_has_the_lineage_of_its_image(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.until("confirm-traffic-increase", 200)
    digest = s.whole()["image"].partition("@")[2]
    url, document = f"{s.url}/api/v1/lineage/{digest}", {"links": [{"kind": "data", "text": "dvc:1"}]}
    assert requests.put(url, json=document, timeout=5).status_code == 204
    assert s.whole()["lineage"] == document
    assert requests.put(url, json={"long": "x" * 300_000}, timeout=5).status_code == 413
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"in": deep}
    assert requests.put(url, json=deep, timeout=5).status_code == 422
    assert s.whole()["lineage"] == document
