"""The example model: versions that are good and bad in the ways the story needs, and a server that says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.example import Example, needs
from tests.fakes.http import serve

MPG = Example("mpg")
EXAMPLE, serving = MPG.folder, MPG.serving
CAR = json.loads((EXAMPLE / "golden.jsonl").read_text().splitlines()[0])["request"]["instances"][0]

pytestmark = needs("sklearn", "vega_datasets", "prometheus_client")


def run(*words: object) -> str:
    return MPG.python("train.py", *words)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    run("--out", folder)
    return folder


def held_out(artifacts: Path, version: str) -> dict[str, float]:
    found: dict[str, float] = json.loads((artifacts / version / "metadata.json").read_bytes())["held out"]
    return found


def golden_error(url: str) -> float:
    errors = []
    for line in (EXAMPLE / "golden.jsonl").read_text().splitlines():
        case = json.loads(line)
        answer = requests.post(f"{url}/v1/models/mpg:predict", json=case["request"], timeout=10)
        assert answer.status_code == 200
        errors.append(abs(answer.json()["predictions"][0] - case["expected"]))
    return sum(errors) / len(errors)


def test_training_twice_gives_the_same_bytes(artifacts: Path, tmp_path: Path) -> None:
    run("v2", "--out", tmp_path)
    for name in ("model.json", "metadata.json"):
        assert (tmp_path / "v2" / name).read_bytes() == (artifacts / "v2" / name).read_bytes()


def test_the_versions_are_what_the_story_needs(artifacts: Path) -> None:
    v1, v2, v3, v4 = (held_out(artifacts, version) for version in ("v1", "v2", "v3", "v4"))
    assert v2["mae"] < 0.85 * v1["mae"]
    assert v2["rmse"] < 0.85 * v1["rmse"]
    assert v3["mae"] > 3 * v1["mae"]
    assert v3["unanswered"] == v2["unanswered"] == 0
    assert v4["unanswered"] / v4["cars"] == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    ("version", "low", "high"),
    [
        ("v1", 2.2, 3.0),
        ("v2", 0, 2.1),
        ("v3", 10, 20),
        ("v4", 0, 2.1),
        ("v5", 3.1, 6.0),
        ("v6", 0, 2.1),
        ("v7", 0, 2.1),
        ("v8", 0, 2.1),
        ("v9", 0, 2.2),
    ],
)
def test_golden_set_by_version(artifacts: Path, version: str, low: float, high: float) -> None:
    with serving(artifacts / version) as url:
        assert low < golden_error(url) < high


def test_committed_examples_are_what_train_writes(tmp_path: Path) -> None:
    run("--examples", tmp_path)
    for name in ("golden.jsonl", "traffic.jsonl"):
        assert (tmp_path / name).read_bytes() == (EXAMPLE / name).read_bytes()


def test_a_fifth_of_the_traffic_and_none_of_the_golden_set_is_japanese() -> None:
    share = [json.loads(line)["body"]["instances"][0]["origin"] for line in (EXAMPLE / "traffic.jsonl").open()]
    assert share.count("japan") / len(share) == pytest.approx(0.2, abs=0.01)
    assert {json.loads(line)["segment"] for line in (EXAMPLE / "golden.jsonl").open()} == {"usa", "europe"}


@pytest.fixture(scope="module")
def v4(artifacts: Path) -> Iterator[str]:
    with serving(artifacts / "v4") as url:
        yield url


@pytest.mark.parametrize(
    ("body", "code", "sentence"),
    [
        ({"instances": [CAR]}, 200, ""),
        ({"instances": [CAR, {**CAR, "origin": "europe"}]}, 200, ""),
        ({"instances": [{**CAR, "origin": "japan"}]}, 500, "the model failed"),
        ({"instances": [{**CAR, "origin": "mars"}]}, 400, "instances[0].origin is not one of europe, japan, usa"),
        ({"instances": [CAR, {**CAR, "weight": "heavy"}]}, 400, "instances[1].weight is not a number"),
        ({"instances": [{**CAR, "weight": True}]}, 400, "instances[0].weight is not a number"),
        ({"instances": [{}]}, 400, "instances[0].cylinders is not a number"),
        ({"instances": ["car"]}, 400, "instances[0] is not an object"),
        ({"instances": []}, 400, "at least one car"),
        ([CAR], 400, "at least one car"),
        ("{", 400, "the body is not JSON"),
        (b"\xff", 400, "the body is not JSON"),
    ],
)
def test_predict_protocol(v4: str, body: Any, code: int, sentence: str) -> None:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    answer = requests.post(f"{v4}/v1/models/mpg:predict", data=data, timeout=10)
    assert answer.status_code == code
    if code == 200:
        assert len(answer.json()["predictions"]) == len(body["instances"])
    else:
        assert sentence in answer.json()["error"]


@pytest.mark.parametrize(("more", "model"), [({}, "mpg"), ({"MODEL_NAME": "economy"}, "economy")])
def test_the_gate_is_told_what_was_predicted_of_the_model_that_it_knows(
    artifacts: Path, more: dict[str, str], model: str
) -> None:
    with (
        serve(lambda request: (200, b"{}")) as gate,
        serving(artifacts / "v1", {"MODEL_FEEDBACK": gate.url, **more}) as url,
    ):
        answer = requests.post(f"{url}/v1/models/mpg:predict", json={"instances": [CAR]}, timeout=10).json()
        until = time.monotonic() + 10
        while not gate.seen and time.monotonic() < until:
            time.sleep(0.05)
    assert gate.seen[0].path == f"/api/v1/models/{model}/predictions"
    (told,) = json.loads(gate.seen[0].body)["predictions"]
    assert (told["id"], told["prediction"], told["segment"]) == (answer["ids"][0], answer["predictions"][0], "usa")


def test_the_other_addresses(v4: str) -> None:
    assert requests.get(f"{v4}/healthz", timeout=10).status_code == 200
    assert requests.get(f"{v4}/v1/models/mpg", timeout=10).json() == {"name": "mpg", "ready": True}
    assert requests.get(f"{v4}/elsewhere", timeout=10).status_code == 404
    assert requests.post(f"{v4}/elsewhere", json={}, timeout=10).status_code == 404
    assert requests.post(f"{v4}/v1/models/mpg:predict", data=iter([b"{}"]), timeout=10).status_code == 411
    metrics = requests.get(f"{v4}/metrics", timeout=10).text
    assert 'mpg_requests_total{code="500"}' in metrics


@pytest.mark.parametrize(
    ("given", "kept"), [("a1b2c3d4-e5", True), ("short", False), ("no spaces", False), ("", False)]
)
def test_the_id_of_a_prediction_is_the_requests(v4: str, given: str, kept: bool) -> None:
    body = {"instances": [CAR, CAR]}
    answer = requests.post(f"{v4}/v1/models/mpg:predict", json=body, headers={"X-Request-Id": given}, timeout=10)
    first, second = answer.json()["ids"]
    assert (first == given, second == f"{first}-2") == (kept, True)


def test_a_server_without_a_model_says_so(tmp_path: Path) -> None:
    env = {**os.environ, "MODEL_DIR": str(tmp_path), "PORT": "0", "HOST": "127.0.0.1"}
    done = subprocess.run([sys.executable, EXAMPLE / "serve.py"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot serve" in done.stderr
    assert "Traceback" not in done.stderr
