"""Each of the example's faults is caught by the check that is for it, and a good model passes all: with a real Envoy,
the example's own server, traffic and gate.yaml, and a real gate.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from modelpack.reference import Reference
from modelpack.rehearse.gate import Gate, start_gate
from modelpack.rehearse.outcome import Outcome, Result
from modelpack.rehearse.plan import read_plan
from modelpack.rehearse.processes import Processes
from modelpack.rehearse.session import Rehearsal, Settings
from modelpack.rehearse.state import State
from modelpack.rehearse.traffic import read_traffic
from tests.example import Example, needs

ROOT = Path(__file__).parents[2]
MPG = ROOT / "model-images" / "mpg"
IMAGE = "registry.local/models/mpg"
FILES = (
    "manifests/mpg/deployment.yaml",
    "flagger/mpg/canary.yaml",
    *(f"model-images/mpg/{name}" for name in ("model.yaml", "gate.yaml", "golden.jsonl")),
)
TRAFFIC = read_traffic((MPG / "traffic.jsonl").read_bytes(), "traffic.jsonl")
BOUNDS = [15, 20, 25, 30]
PLACES = [bisect_left(BOUNDS, each.expected) for each in TRAFFIC]
COUNTS = [PLACES.count(place) for place in range(len(BOUNDS) + 1)]
REFERENCE = json.dumps({"fleet": {"bounds": BOUNDS, "counts": COUNTS}}).encode()
RATE, SPEED, SECONDS = 250, 20, 90
HORIZON = 18.0  # seconds
LATE = 1.2 * HORIZON
GATE = (MPG / "gate.yaml").read_text().replace("horizon: 10m", f"horizon: {HORIZON * SPEED:g}s")
GOLDEN = GATE.partition("- name: errors")[0]

DRIFT = "- {name: predictions, type: drift, predictions: true, limit: 0.1, min_sample: 200}\n"
LABELS = """\
- name: quality
  type: labels
  metric: mae
  margin: 0.3
  unit: mpg
  min_sample: 100
  segments: {label: origin, values: [europe, japan, usa], margin: 1.0, min_sample: 20}
"""
SHADOW = "- {name: shadow, type: shadow, tolerance: 1.5, margin: 0.05, min_sample: 100, unit: mpg}\n"
FLEET = "- {name: fleet, type: drift, predictions: true, against: reference, limit: 0.3, min_sample: 200}\n"
APPROVAL = "- {name: owner, type: approval}\n"

pytestmark = needs("sklearn", "vega_datasets", "prometheus_client", "envoy", "fastapi")


class Place:
    """A state folder with a gate, to rehearse one version after the other on."""

    def __init__(
        self, folder: Path, artifacts: Path, processes: Processes, rate: float = RATE, speed: float = SPEED
    ) -> None:
        self.folder = folder
        self.artifacts = artifacts
        self.rate, self.speed = rate, speed
        folder.mkdir()
        (folder / "logs").mkdir()
        self.gate: Gate = start_gate(processes, State(folder))

    def rehearse(self, version: str, more: str = "", gate: str = GATE) -> tuple[Outcome, dict[str, Any]]:
        """Roll out a version, with `more` checks than `gate` has; how it went, and what each check said."""
        tip = {path: (ROOT / path).read_bytes() for path in FILES}
        tip["model-images/mpg/reference.json"] = REFERENCE
        tip["model-images/mpg/gate.yaml"] = (gate + more).encode()
        name = "manifests/mpg/deployment.yaml"
        tip[name] = tip[name].replace(f"{IMAGE}:v1".encode(), f"{IMAGE}:{version}".encode())
        image = Reference.parse(IMAGE).at(tag=version, digest=f"sha256:{hashlib.sha256(version.encode()).hexdigest()}")
        settings = Settings(TRAFFIC, self.rate, self.speed, SECONDS, self.gate.address)
        with Rehearsal(
            read_plan(tuple(tip), tip.get), image, "c0ffee", State(self.folder), settings,
            unpack=self.unpack, export=self.export,
        ) as rehearsal:  # fmt: skip
            outcome = rehearsal.run()
            rollout = outcome.rollout
            details = self.gate.details(rollout["id"]) if rollout else {"checks": []}
        return outcome, {each["name"]: each for each in details["checks"]}

    def unpack(self, reference: Reference, root: Path) -> None:
        shutil.copytree(self.artifacts / reference.tag, root / "models")
        (root / "models" / ".modelpack.json").write_text(json.dumps({"version": reference.tag}))
        (root / "modelpack").mkdir()
        (root / "modelpack" / "copy.sh").write_text('cp -R "$MODELPACK_SRC/." "$MODELPACK_DEST/"\n')

    @staticmethod
    def export(folder: Path) -> None:
        (folder / "model-images" / "mpg").mkdir(parents=True)
        shutil.copy(MPG / "serve.py", folder / "model-images" / "mpg")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    Example("mpg").python("train.py", "--out", folder)
    shutil.copytree(folder / "v4", folder / "v4-again")
    return folder


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as found:
        yield found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, artifacts: Path, processes: Processes) -> Place:
    """v2 serves, and stays: what is rehearsed is rejected."""
    found = Place(tmp_path_factory.mktemp("faults") / "state", artifacts, processes)
    assert found.rehearse("v2")[0].result is Result.INITIALIZED
    return found


@pytest.mark.parametrize(
    ("version", "more", "checks", "said", "unsaid"),
    [
        pytest.param("v3", "", {"golden"}, "the floor is 3", "\n", id="wrong-units"),
        pytest.param("v4", "", {"errors", "promise"}, "bad requests", "\n", id="an-origin-fails"),
        pytest.param("v5", "", {"golden"}, "segment europe", "segment usa", id="an-origin-is-wrong"),
        pytest.param("v6", DRIFT, {"predictions"}, "distributed otherwise", "\n", id="predictions-drift"),
        pytest.param("v7", LABELS, {"quality"}, "where origin is japan", "where origin is usa", id="only-labels-tell"),
        pytest.param("v8", "", {"latency"}, "slower than 50 ms", "\n", id="an-origin-is-slow"),
        pytest.param("v9", SHADOW, {"shadow"}, "another answer", "\n", id="answers-differ"),
    ],
)
def test_a_fault_is_caught_by_the_check_that_is_for_it(
    place: Place, version: str, more: str, checks: set[str], said: str, unsaid: str
) -> None:
    outcome, found = place.rehearse(version, more)
    assert outcome.result is Result.ROLLED_BACK, outcome.reason
    rejecting = {name for name, each in found.items() if each["verdict"] == "reject"}
    assert rejecting and rejecting <= checks
    assert said in outcome.reason and unsaid not in outcome.reason
    figures(version, outcome, [found[name] for name in sorted(rejecting)])


def test_a_broken_promise_is_caught_where_the_primary_breaks_it_too(
    tmp_path: Path, artifacts: Path, processes: Processes
) -> None:
    place = Place(tmp_path / "state", artifacts, processes)
    place.rehearse("v4")
    outcome, found = place.rehearse("v4-again")
    assert outcome.result is Result.ROLLED_BACK, outcome.reason
    assert [name for name, each in found.items() if each["verdict"] == "reject"] == ["promise"]
    figures("v4-again", outcome, [found["promise"]])


def test_a_good_model_passes_every_check(tmp_path: Path, artifacts: Path, processes: Processes) -> None:
    place = Place(tmp_path / "state", artifacts, processes)
    place.rehearse("v1")
    # v2 is another kind of model than v1: its answers differ more than those of two versions of one kind
    shadow, drift = SHADOW.replace("tolerance: 1.5", "tolerance: 15"), DRIFT.replace("limit: 0.1", "limit: 1")
    outcome, found = place.rehearse("v2", drift + FLEET + LABELS + shadow)
    figures("v2", outcome, found.values())
    assert outcome.result is Result.PROMOTED, outcome.reason
    assert outcome.traffic.failed == 0
    assert {name: each["verdict"] for name, each in found.items()} == dict.fromkeys(found, "accept")
    assert len(found) == 8


def test_promotion_waits_for_the_owner_also_past_the_horizon(
    tmp_path: Path, artifacts: Path, processes: Processes
) -> None:
    place = Place(tmp_path / "state", artifacts, processes)
    place.rehearse("v1")
    owner = threading.Thread(target=approve, args=(place.gate.address,))
    owner.start()
    # what finds no drift accepts as the horizon ends
    outcome, found = place.rehearse("v2", DRIFT.replace("limit: 0.1", "limit: 1") + APPROVAL, GOLDEN)
    owner.join()
    assert outcome.result is Result.PROMOTED, outcome.reason
    assert outcome.rollout is not None
    assert outcome.rollout["ended"] - outcome.rollout["traffic_started"] > LATE
    assert found["owner"]["reason"] == "ada approved this rollout"


def figures(version: str, outcome: Outcome, checks: Iterable[dict[str, Any]]) -> None:
    """For whoever asks after how many requests (`pytest -s`)."""
    print(f"\n{version}: {outcome.seconds:.1f} s, {outcome.traffic.sent} requests; {outcome.reason}")
    for each in checks:
        print(f"  {each['name']} after {each['n']} {each['counts']} of the canary, {each['n_primary']} of the primary")


def approve(gate: str) -> None:
    """As somebody who takes a while after every other check accepts."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        for each in requests.get(f"{gate}/api/v1/rollouts", timeout=5).json()["rollouts"]:
            address = f"{gate}/api/v1/rollouts/{each['id']}"
            since = requests.get(address, timeout=5).json()["traffic_started"]
            if since and time.time() - since > LATE and "has to approve the promotion" in each["reason"]:
                word = {"decision": "approve", "by": "ada"}
                requests.post(f"{address}/approval", json=word, timeout=5).raise_for_status()
                return
        time.sleep(0.2)
