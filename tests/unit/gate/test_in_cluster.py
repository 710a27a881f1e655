"""The gate over a fake API server and a fake Prometheus."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from modelpack.errors import NotFoundError, RefusedError, RemoteError
from modelpack.gate.cluster import InCluster
from modelpack.gate.engine import Gate
from modelpack.gate.rollouts import Approval, Call
from modelpack.gate.store import Store
from modelpack.gate.target import Endpoint
from tests.fakes.cluster import CANARIES, FakeApi, canary, config_map, workload
from tests.fakes.counted import counted
from tests.fakes.rehearsal import V1, V2, serve

GATE = """\
apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: mpg}
horizon: 10m
checks:
- name: errors
  type: proportion
  total: rq{namespace="${namespace}",role="${role}"}
  bad: rq{namespace="${namespace}",role="${role}",code="5"}
  margin: 0.02
  min_sample: 50
"""


class Scene:
    """Canaries `mpg` in some namespaces; every look is ten seconds and one scrape after the last."""

    def __init__(self, root: Path, stack: ExitStack, *namespaces: str) -> None:
        self.now = 1000.0
        self.api = FakeApi()
        for namespace in namespaces:
            self.api.put(canary(namespace))
            self.api.put(workload(V2, namespace=namespace))
            self.api.put(workload(V1, "mpg-primary", namespace=namespace))
            self.api.put(config_map("gate-mpg", {"gate.yaml": GATE}, namespace))
        self.points: dict[tuple[str, str], list[tuple[float, float]]] = {}
        self.answer: Callable[[str, bytes], tuple[int, bytes]] = self.query
        url = stack.enter_context(serve(lambda path, body: self.answer(path, body)))
        self.store = Store.in_file(root / "gate.sqlite")
        stack.callback(self.store.close)
        self.surroundings = InCluster(self.api.cluster, url)
        self.gate = Gate(self.surroundings, self.store, clock=lambda: self.now)

    def query(self, path: str, body: bytes) -> tuple[int, bytes]:
        (text,) = parse_qs(urlsplit(path).query)["query"]
        found = [
            {"metric": {"__name__": "rq", "job": "e", "instance": "e", "role": role, "code": "2"}, "values": values}
            for (namespace, role), points in self.points.items()
            if f'namespace="{namespace}",role="{role}"' in text and 'code="5"' not in text
            for values in [[(t, str(value)) for t, value in points]]
        ]
        return 200, json.dumps({"status": "success", "data": {"result": found}}).encode()

    def status(self, namespace: str = "default", **changes: Any) -> None:
        self.api.objects[CANARIES.format(namespace) + "/mpg"]["status"].update(changes)

    def ask(self, hook: str, namespace: str = "default", phase: str = "Progressing") -> int:
        call = Call(hook, namespace, "mpg", phase, "c1", "mpg")
        answer = self.gate.decide(call)
        self.gate.note(call, answer)
        self.reason = answer.decision.reason
        return answer.status

    def look(self, canary: float = 0, primary: float = 0, namespace: str = "default") -> None:
        self.now += 10
        for role, count in (("canary", canary), ("primary", primary)):
            points = self.points.setdefault((namespace, role), [])
            points.append((self.now - 1, (points[-1][1] if points else 1000) + count))
        self.gate.look(namespace, "mpg")

    def verdict(self) -> str:
        return self.store.rollouts()[0].decision.verdict


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def scene(tmp_path: Path, stack: ExitStack) -> Scene:
    return Scene(tmp_path, stack, "default")


def test_a_canary_is_judged_by_prometheus_and_promoted_by_its_own_phase(scene: Scene) -> None:
    assert scene.ask("confirm-traffic-increase") == 200
    scene.status(canaryWeight=10)
    for _ in range(4):
        scene.look(100, 900)
    assert [canary for _, canary, _ in counted(scene.store, scene.store.open()[0].id)] == [200]
    scene.status(phase="WaitingPromotion", canaryWeight=0)  # the routes remain
    for _ in range(20):
        scene.look(100, 900)
    assert counted(scene.store, scene.store.open()[0].id) == [(10, 2200, 19800)]
    assert scene.ask("confirm-promotion") == 200, scene.reason
    for phase in ("Promoting", "Finalising"):
        scene.status(phase=phase)
        assert scene.ask("post-rollout", phase="Succeeded") == 200
        assert scene.store.rollouts()[0].state == "active"
    scene.status(phase="Succeeded")
    scene.look()
    assert scene.store.rollouts()[0].state == "promoted"


def test_versions_are_reached_through_flaggers_services(scene: Scene) -> None:
    target = scene.surroundings.resolve("default", "mpg")
    assert (target.canary.url, target.canary.image) == ("http://mpg-canary.default:8080", V2)
    assert (target.primary.url, target.primary.image) == ("http://mpg-primary.default:8080", V1)
    assert (target.interval, target.speed) == (10.0, 1.0)
    del scene.api.objects["/apis/apps/v1/namespaces/default/deployments/mpg-primary"]
    with pytest.raises(RemoteError, match="its primary does not exist"):
        scene.surroundings.resolve("default", "mpg")


def test_an_image_without_a_digest_is_known_by_its_whole_reference(scene: Scene) -> None:
    scene.api.put(workload("registry.local/models/mpg:v2"))
    scene.ask("rollback")
    assert scene.store.open()[0].digest == "registry.local/models/mpg:v2"


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("registry.local:5000/models/mpg:v2@sha256:1", "v2"),
        ("registry.local:5000/models/mpg:v2", "v2"),
        ("registry.local:5000/models/mpg@sha256:1", "sha256:1"),
    ],
)
def test_a_version_is_called_by_its_tag_else_by_its_digest(image: str, version: str) -> None:
    assert Endpoint("u", image).version == version


def test_the_configuration_is_the_one_beside_the_canary(scene: Scene) -> None:
    scene.api.put(config_map("gate-mpg", {"golden.jsonl": "{}"}, "other"))
    assert scene.surroundings.config("default", "mpg") == {"gate.yaml": GATE.encode()}
    with pytest.raises(NotFoundError, match=r"ConfigMap other/gate-mpg: has no key gate\.yaml"):
        scene.surroundings.config("other", "mpg")
    del scene.api.objects["/api/v1/namespaces/default/configmaps/gate-mpg"]
    assert scene.ask("confirm-traffic-increase") == 403 and "ConfigMap default/gate-mpg" in scene.reason


def test_an_api_server_that_is_away_holds_and_ends_nothing(scene: Scene) -> None:
    scene.ask("confirm-traffic-increase")
    scene.api.away = True
    assert [scene.ask(hook) for hook in ("confirm-traffic-increase", "confirm-promotion", "rollback")] == [403] * 3
    assert "cannot be reached" in scene.reason and len(scene.store.open()) == 1
    scene.api.away = False
    assert scene.ask("confirm-traffic-increase") == 200


def test_a_prometheus_that_is_away_or_refuses_holds_until_it_is_back(scene: Scene) -> None:
    scene.ask("confirm-traffic-increase")
    scene.status(canaryWeight=10)
    scene.look(10, 90)
    scene.answer = lambda path, body: (503, b"no")
    scene.look(10, 90)
    assert scene.ask("confirm-traffic-increase") == 403 and "answered 503" in scene.reason
    scene.answer = scene.query
    scene.look(10, 90)
    assert scene.ask("confirm-traffic-increase") == 200
    assert counted(scene.store, scene.store.open()[0].id)[0][1] == 10  # 1019 to 1029; 1009 was before


def test_selectors_that_name_nothing_hold(scene: Scene) -> None:
    scene.ask("confirm-traffic-increase")
    scene.status(canaryWeight=10)
    scene.points = {}
    for _ in range(5):
        scene.now += 10
        scene.gate.look("default", "mpg")
    assert scene.ask("confirm-traffic-increase") == 403 and "no request has reached the canary" in scene.reason


def test_ready_once_the_api_server_was_reached(scene: Scene) -> None:
    scene.api.away = True
    assert "cannot be reached" in scene.surroundings.why_unready()
    scene.api.away = False
    scene.api.objects["/version"] = {"gitVersion": "v1.36.0"}
    assert scene.surroundings.why_unready() == ""
    scene.api.away = True
    assert scene.surroundings.why_unready() == ""  # the page and the reasons stay in reach


def test_a_promotion_that_failed_half_way_reaches_settle_with_what_the_primary_runs(scene: Scene) -> None:
    scene.ask("confirm-traffic-increase")
    scene.status(phase="Promoting")
    scene.api.put(workload(V2, "mpg-primary"))
    scene.ask("event", phase="Failed")
    assert scene.store.rollouts()[0].state == "active"
    scene.status(phase="Failed", canaryWeight=100)
    scene.ask("post-rollout", phase="Failed")
    (rollout,) = scene.store.rollouts()
    assert (rollout.state, rollout.image, rollout.primary_image) == ("failed", V2, V2)


def test_a_person_approves_a_held_rollout_and_no_other(scene: Scene) -> None:
    scene.ask("confirm-traffic-increase")
    scene.status(canaryWeight=10)
    scene.look()
    (rollout,) = scene.store.open()
    with pytest.raises(RefusedError, match="not held but undecided"):
        scene.gate.approve(rollout.id, Approval(True, "ada"))
    for _ in range(5):
        scene.look(0, 10)
    assert scene.ask("confirm-promotion") == 403 and scene.verdict() == "hold"
    assert scene.gate.approve("none", Approval(True, "ada")) is None
    scene.gate.approve(rollout.id, Approval(True, "ada", "night"))
    scene.look(0, 10)
    assert scene.ask("confirm-promotion") == 200 and scene.reason == "approved by ada: night"
    (event,) = [each for each in scene.store.events(rollout.id) if each["hook"] == "approval"]
    assert (event["answer"], event["reason"]) == (200, "approved by ada: night")
    with pytest.raises(RefusedError, match="promotion is confirmed already; to go back, run modelpack rollback mpg"):
        scene.gate.approve(rollout.id, Approval(False, "bob"))
    assert scene.verdict() == "accept" and scene.ask("rollback") == 403


def test_a_person_rejects_for_good_what_is_approved_and_not_confirmed(scene: Scene) -> None:
    scene.ask("confirm-traffic-increase")
    scene.status(canaryWeight=10)
    for _ in range(5):
        scene.look(0, 10)
    assert scene.ask("confirm-promotion") == 403  # which confirms nothing
    (rollout,) = scene.store.open()
    scene.gate.approve(rollout.id, Approval(True, "ada"))
    scene.gate.approve(rollout.id, Approval(False, "bob"))
    assert scene.ask("confirm-promotion") == 403
    assert scene.ask("rollback") == 200 and scene.reason == "rejected by bob"
    with pytest.raises(RefusedError, match="rejected, and that stays"):
        scene.gate.approve(rollout.id, Approval(True, "ada"))


def test_a_rejection_after_a_confirmation_that_was_taken_back_counts(scene: Scene) -> None:
    scene.ask("confirm-traffic-increase")
    scene.status(canaryWeight=10)
    for _ in range(20):
        scene.look(100, 900)
    assert scene.gate.decide(Call("confirm-promotion", "default", "mpg", "Progressing", "c1", "mpg")).status == 200
    (rollout,) = scene.store.open()
    with pytest.raises(RefusedError, match="confirmed already"):  # though the call is not recorded yet
        scene.gate.approve(rollout.id, Approval(False, "bob"))
    scene.answer = lambda path, body: (503, b"no")
    scene.look(10, 90)
    assert scene.ask("confirm-promotion") == 403
    decided = scene.gate.approve(rollout.id, Approval(False, "bob"))
    assert decided and decided.decision.verdict == "reject"


def test_a_canary_that_cannot_be_read_stops_no_other(tmp_path: Path, stack: ExitStack) -> None:
    scene = Scene(tmp_path, stack, "default", "slow", "gone")
    for namespace in ("default", "slow", "gone"):
        assert scene.ask("confirm-traffic-increase", namespace) == 200
        scene.status(namespace, canaryWeight=10)
    released = threading.Event()

    def before(path: str) -> None:
        if path == CANARIES.format("slow") + "/mpg":
            released.wait(20)

    scene.api.before = before
    del scene.api.objects[CANARIES.format("gone") + "/mpg"]
    scene.gate.start()
    end = time.monotonic() + 10
    while not any(each.namespace == "default" and each.weight == 10 for each in scene.store.open()):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert scene.ask("confirm-traffic-increase") == 200
    released.set()
    scene.gate.stop()
    assert scene.gate.why_unready() == "the watcher does not run"


def test_a_deleted_canary_ends_its_rollouts_and_a_missing_deployment_does_not(scene: Scene) -> None:
    scene.ask("confirm-traffic-increase")
    target = scene.api.objects.pop("/apis/apps/v1/namespaces/default/deployments/mpg")
    with pytest.raises(RemoteError, match="its target does not exist"):
        scene.look()
    assert len(scene.store.open()) == 1
    scene.api.put(target)
    gone = scene.api.objects.pop(CANARIES.format("default") + "/mpg")
    assert scene.gate.look("default", "mpg") is None
    (rollout,) = scene.store.rollouts()
    assert (rollout.state, rollout.phase, rollout.ended) == ("superseded", "Terminated", scene.now)
    scene.api.put(gone)
    assert scene.ask("confirm-traffic-increase") == 200
    assert [each.state for each in scene.store.open()] == ["active"]


def test_noting_a_call_waits_for_no_look(scene: Scene) -> None:
    call = Call("confirm-traffic-increase", "default", "mpg", "Progressing", "c1", "mpg")
    answer = scene.gate.decide(call)
    looking, released = threading.Event(), threading.Event()

    def before(path: str) -> None:
        looking.set()
        released.wait(20)

    scene.api.before = before
    look = threading.Thread(target=scene.gate.look, args=("default", "mpg"))
    look.start()
    looking.wait(5)
    started = time.monotonic()
    scene.gate.note(call, answer)
    assert time.monotonic() - started < 1 and scene.store.events(answer.rollout)
    released.set()
    look.join()
