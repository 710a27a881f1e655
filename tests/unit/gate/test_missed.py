"""A failure that the gate was not told of: it was down, or no hook that mints was ever called."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from modelpack.gate.cluster import InCluster
from modelpack.gate.engine import Gate
from modelpack.gate.rollouts import Call
from modelpack.gate.store import Store
from tests.fakes.cluster import CANARIES, FakeApi, canary, config_map, workload
from tests.fakes.rehearsal import V1, V2, V3

GATE = """\
apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: mpg}
horizon: 10m
checks: [{name: errors, type: proportion, total: rq, bad: rq5, margin: 0.02, min_sample: 50}]
"""
STARTED = 1000.0  # when the target's template was written


class Scene:
    """A Canary whose v2 is on its way; the gate can be restarted, and is told nothing unless a test does."""

    def __init__(self, root: Path) -> None:
        self.now = STARTED
        self.api = FakeApi()
        self.api.put(canary())
        self.write(V2)
        self.api.put(workload(V1, "mpg-primary"))
        self.api.put(config_map("gate-mpg", {"gate.yaml": GATE}))
        self._file = root / "gate.sqlite"
        self.restart()
        self.hear("event", phase="Initialized")

    def restart(self) -> None:
        self.store = Store.in_file(self._file)
        self.gate = Gate(InCluster(self.api.cluster, "http://127.0.0.1:9"), self.store, clock=lambda: self.now)

    def write(self, image: str, at: float = STARTED) -> None:
        """Have somebody write the Deployment's pod template."""
        template = {"manager": "kustomize-controller", "time": when(at), "fieldsV1": {"f:spec": {"f:template": {}}}}
        scaled = {"manager": "flagger", "time": when(at + 10000), "fieldsV1": {"f:spec": {"f:replicas": {}}}}
        target = workload(image)
        target["metadata"]["managedFields"] = [template, scaled]
        self.api.put(target)

    def phase(self, phase: str, at: float, **status: Any) -> None:
        condition = {"type": "Promoted", "reason": phase, "lastTransitionTime": when(at)}
        self._status({"phase": phase, "lastTransitionTime": when(at), "conditions": [condition], **status})
        self.now = at + 1

    def tick(self, last_applied: str = "b") -> None:
        """What Flagger writes at every interval while the phase is Failed."""
        self._status({"lastTransitionTime": when(self.now), "lastAppliedSpec": last_applied})

    def _status(self, changes: dict[str, Any]) -> None:
        self.api.objects[CANARIES.format("default") + "/mpg"]["status"].update(changes)

    def hear(self, hook: str, checksum: str = "c2", phase: str = "Failed") -> int:
        call = Call(hook, "default", "mpg", phase, checksum, "mpg")
        answer = self.gate.decide(call)
        self.gate.note(call, answer)
        return answer.status

    def look(self) -> None:
        self.now += 30
        assert self.gate.look("default", "mpg") is None

    def told(self) -> list[tuple[str, str]]:
        """(image, state) of every rollout, oldest first."""
        return [(each.image, each.state) for each in self.store.rollouts()][::-1]


def when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.store.close()


def test_a_gate_that_was_down_while_the_canary_failed_sees_it_after_its_restart(scene: Scene) -> None:
    assert scene.hear("confirm-traffic-increase", phase="Progressing") == 200
    scene.phase("Failed", STARTED + 200)
    scene.restart()
    scene.gate.start()
    end = time.monotonic() + 10
    while scene.store.open():
        assert time.monotonic() < end
        time.sleep(0.02)
    scene.gate.stop()
    assert scene.told() == [(V2, "failed")]


def test_a_canary_that_never_got_ready_is_a_failed_rollout_at_post_rollout(scene: Scene) -> None:
    scene.phase("Failed", STARTED + 200)
    assert scene.hear("post-rollout") == 200
    (rollout,) = scene.store.rollouts()
    assert (rollout.state, rollout.image, rollout.primary_image, rollout.checksum) == ("failed", V2, V1, "c2")
    assert (rollout.phase, rollout.ended, rollout.settled) == ("Failed", scene.now, False)
    assert (rollout.decision.verdict, rollout.decision.reason) == ("pending", "it was over before the gate was asked")
    for _ in range(3):
        scene.hear("event")
        scene.look()
    assert scene.told() == [(V2, "failed")]


def test_a_gate_that_was_down_from_start_to_end_sees_it_by_itself(scene: Scene) -> None:
    scene.phase("Failed", STARTED + 200)
    scene.restart()
    scene.gate.start()
    end = time.monotonic() + 10
    while not scene.told():
        assert time.monotonic() < end
        time.sleep(0.02)
    scene.gate.stop()
    scene.restart()
    scene.look()
    assert scene.told() == [(V2, "failed")]


def test_it_is_told_once_however_long_nobody_reverts_it(scene: Scene) -> None:
    scene.phase("Failed", STARTED + 200)
    for _ in range(5):
        scene.look()
        scene.tick()
    assert scene.told() == [(V2, "failed")]


def test_a_rollout_that_failed_before_the_gates_eyes_is_not_told_again(scene: Scene) -> None:
    assert scene.hear("confirm-traffic-increase", phase="Progressing") == 200
    scene.phase("Failed", STARTED + 200)
    for _ in range(5):
        scene.look()
        scene.tick()
    assert scene.told() == [(V2, "failed")]


def test_a_version_that_flagger_never_tried_is_not_blamed(scene: Scene) -> None:
    """Flagger was held up between noting its hash and beginning its analysis, and takes it for tried from then on."""
    scene.phase("Failed", STARTED + 200)
    scene.look()
    scene.write(V3, STARTED + 300)
    for _ in range(5):
        scene.tick(last_applied="c")
        scene.look()
    assert scene.told() == [(V2, "failed")]


@pytest.mark.parametrize("skew", [-60.0, 60.0])
def test_it_is_told_once_however_the_clocks_differ(scene: Scene, skew: float) -> None:
    scene.phase("Failed", STARTED + 200)
    scene.now += skew
    for _ in range(3):
        scene.gate.look("default", "mpg")
    assert scene.told() == [(V2, "failed")]


def test_the_same_image_that_fails_again_is_told_again(scene: Scene) -> None:
    scene.phase("Failed", STARTED + 200)
    scene.look()
    scene.write(V2, STARTED + 500)
    scene.phase("Progressing", STARTED + 510)
    scene.look()
    scene.phase("Failed", STARTED + 700)
    scene.look()
    assert scene.told() == [(V2, "failed")] * 2


def test_the_next_version_that_failed_in_the_dark_is_told_beside_the_one_it_superseded(scene: Scene) -> None:
    assert scene.hear("confirm-traffic-increase", phase="Progressing") == 200
    scene.write(V3, STARTED + 50)
    scene.phase("Failed", STARTED + 200)
    scene.look()
    assert sorted(scene.told()) == [(V2, "superseded"), (V3, "failed")]


@pytest.mark.parametrize(
    ("image", "written", "status"),
    [
        (V3, STARTED + 300, {}),  # after the failure
        (V3, STARTED + 195, {}),  # so shortly before it that Flagger may have decided on the one before
        (V1, STARTED + 50, {}),  # reverted in mid-analysis: Flagger goes on, about what nobody names any more
        (V1, STARTED + 300, {"lastAppliedSpec": "a"}),
        (V2, STARTED, {"lastAppliedSpec": "a"}),
    ],
)
def test_nothing_is_blamed_that_may_not_have_failed(
    scene: Scene, image: str, written: float, status: dict[str, str]
) -> None:
    scene.write(image, written)
    scene.phase("Failed", STARTED + 200, **status)
    scene.hear("post-rollout")
    scene.look()
    assert scene.told() == []


def test_nothing_is_blamed_where_nobody_says_who_wrote_the_template(scene: Scene) -> None:
    scene.api.put(workload(V2))
    scene.phase("Failed", STARTED + 200)
    scene.hear("post-rollout")
    scene.look()
    assert scene.told() == []


@pytest.mark.parametrize("phase", ["Initialized", "Progressing", "Succeeded"])
def test_other_phases_are_no_failure(scene: Scene, phase: str) -> None:
    scene.phase(phase, STARTED + 200)
    scene.hear("post-rollout")
    scene.look()
    assert scene.told() == []


def test_a_deleted_canary_is_forgotten(scene: Scene) -> None:
    assert scene.store.canaries() == {("default", "mpg"): "mpg"}
    del scene.api.objects[CANARIES.format("default") + "/mpg"]
    scene.look()
    assert scene.store.canaries() == {}
