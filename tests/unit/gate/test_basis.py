"""A report's JSON is enough to judge every check again, whatever came in after its verdict."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from modelpack.gate import basis
from modelpack.gate.checks import Window
from modelpack.gate.checks.check import Pair, Reply
from modelpack.gate.engine import Gate
from modelpack.gate.feedback import Prediction
from modelpack.gate.record import record
from modelpack.gate.rehearsal import Rehearsal
from modelpack.gate.rollouts import Call
from modelpack.gate.schema import RolloutView, view
from modelpack.gate.store import Store
from tests.fakes.again import again, shown
from tests.fakes.rehearsal import GATE, V1, V2, Envoy, Folder, model_server, serve

CHECKS = """\
- {name: by-segment, type: golden, path: "/v1/models/mpg:predict", metric: rmse, floor: 3.0, margin: 0.3,
   confidence: 0.98, segments: {margin: 0.8}}
- {name: revenue, type: mean, sum: 'value_sum{role="${role}"}', count: 'value_count{role="${role}"}', better: higher,
   margin: 0.5, min_sample: 100, low: 0, high: 10}
- {name: promise, type: slo, total: 'value_count{role="${role}"}', bad: 'value_bad{role="${role}"}', max: 0.05,
   min_sample: 50}
- {name: memory, type: slo, gauge: memory_bytes, max: 800, for: 1s}
- {name: twin, type: shadow, tolerance: 0.5, margin: 0.2, min_sample: 20}
- {name: inputs, type: drift, predictions: true, limit: 0.1, min_sample: 50}
- {name: truth, type: labels, metric: mae, margin: 0.5, min_sample: 20}
- {name: owner, type: approval, when: before-promotion}
"""


class Scene:
    """A gate that is looked at by hand; `memory` is a gauge that its servers show beside Envoy's counters."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.now, self.memory, self.random, self.sent = 1000.0, 600.0, random.Random(1), 0
        self.envoy, self.folder = Envoy(), Folder(root, gate=GATE.replace("horizon: 10m", "horizon: 1m") + CHECKS)
        self.folder.write(
            canary={"url": stack.enter_context(serve(model_server())), "image": V2},
            primary={"url": stack.enter_context(serve(model_server(0.1))), "image": V1},
            metrics=stack.enter_context(serve(self.page)),
        )
        self.store = Store.in_file(root / "gate.sqlite")
        stack.callback(self.store.close)
        self.gate = Gate(Rehearsal(root), self.store, clock=lambda: self.now)

    def page(self, path: str, body: bytes) -> tuple[int, bytes]:
        status, text = self.envoy.page(path, body)
        lines = [f"memory_bytes {self.memory}"]
        for role in ("canary", "primary"):
            counts = {"sum": 4 * self.sent, "count": self.sent, "bad": 0}
            lines += [f'value_{name}{{role="{role}"}} {value}' for name, value in counts.items()]
        return status, text + ("\n".join(lines) + "\n").encode()

    def ask(self) -> int:
        return self.gate.decide(Call("confirm-traffic-increase", "default", "mpg", "Progressing", "c1", "mpg")).status

    def ready(self) -> None:
        """Ask until the golden sets are through."""
        end = time.monotonic() + 20
        while self.ask() != 200:
            assert time.monotonic() < end
            time.sleep(0.02)

    def look(self, mirrored: int = 0) -> None:
        self.now += 0.25
        self.sent += 40
        self.envoy.add("canary", 40, bad=1)
        self.envoy.add("primary", 60)
        for version in ("v1", "v2"):
            told = [Prediction(f"{self.sent}-{n}", version, self.random.gauss(20, 4)) for n in range(mirrored)]
            self.gate.feedback.add_predictions("mpg", told)
        self.gate.feedback.add_labels("mpg", {f"{self.sent}-{n}": 20.0 for n in range(mirrored)})
        self.gate.look("default", "mpg")

    def report(self) -> Any:
        (rollout,) = self.store.rollouts()
        whole = RolloutView.model_validate(view(rollout, self.gate, self.store, whole=True)).model_dump()
        return json.loads(
            json.dumps(record(whole, self.store.files(rollout.id), self.gate.basis(rollout)), allow_nan=False)
        )


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path, stack)


def same(report: Any) -> dict[str, str]:
    """Each check's verdict, once it came out the same again."""
    found, judged = again(report), {each["name"]: each for each in report["rollout"]["checks"]}
    assert {name: shown(each) for name, each in found.items()} == {name: shown(each) for name, each in judged.items()}
    return {name: each["verdict"] for name, each in judged.items()}


def test_every_check_is_judged_again_by_its_report_alone(scene: Scene) -> None:
    scene.ready()
    scene.folder.write(weight=30)
    for _ in range(12):
        scene.look(mirrored=10)
    assert same(scene.report()) == {
        **dict.fromkeys(["golden", "by-segment", "promise", "memory"], "accept"),
        **dict.fromkeys(["errors", "latency", "revenue", "inputs", "truth", "owner"], "undecided"),
        "twin": "reject",
    }


def test_what_comes_after_the_verdict_does_not_change_its_report(scene: Scene) -> None:
    scene.ready()
    scene.folder.write(weight=30)
    for _ in range(8):
        scene.look(mirrored=10)
    before = scene.report()
    scene.folder.write(phase="Failed", weight=0)
    scene.now += 5
    scene.memory = 10_000
    scene.look(mirrored=10)
    assert scene.report()["basis"] == before["basis"]
    same(scene.report())
    scene.gate.feedback.add_labels("mpg", {"40-0": 0.0, "40-1": 20.0})  # one of them is a correction
    corrected = scene.report()["basis"]["truth"]
    assert (corrected["predictions"], corrected["labels"]) == (160, 160)
    assert sum(each["truth"] is None for each in corrected["told"]) == 2  # of both versions


def test_silence_is_in_the_report(scene: Scene) -> None:
    scene.ready()
    scene.folder.write(weight=30)
    scene.look()
    for _ in range(20):
        scene.now += 0.25
        scene.gate.look("default", "mpg")
    assert same(scene.report())["errors"] == "hold"


def test_answers_that_are_too_long_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = (Pair("a", Reply(0.1), Reply(error="did not answer")), Pair("b", Reply("cat"), Reply(3)))
    assert basis.unpack(basis.pack(pairs)) == pairs
    monkeypatch.setattr(basis, "LARGEST", 10)
    assert basis.unpack(basis.pack(pairs)) is None
    window = Window(pairs=pairs, silent=3.5, patience=60.0, unreachable="no route", rollback=True, approved="ada")
    known = basis.read(basis.write(window, 7.0))
    assert (known.t, known.window) == (7.0, Window(**{**vars(window), "pairs": None}))
