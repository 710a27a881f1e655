"""The real Flagger asks the real gate about two Canaries at once; a person approves the one and rejects the other."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from tests.cluster.deployments import mark_ready
from tests.cluster.test_gate_objects import served
from tests.cluster.variants import FLAGGER, Server, flagger, started
from tests.fakes.rehearsal import serve
from tests.integration.conftest import available

pytestmark = pytest.mark.xdist_group("control-plane")

NAMESPACE = "contour"
NAMES = ("good", "odd")
V1, V2 = (f"registry.local/models/mpg:v{n}@sha256:{n:064d}" for n in (1, 2))
HOOKS = ("confirm-traffic-increase", "rollback", "confirm-promotion", "post-rollout", "event")
NOTHING = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}}).encode()
GATE = """\
apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: mpg}
horizon: 10m
checks:
- {name: errors, type: proportion, total: 'rq{role="${role}"}', bad: 'rq{role="${role}",code="5"}',
   margin: 0.02, min_sample: 300}
"""


class Scene:
    """Canaries whose selectors name nothing: each is held once it has traffic."""

    def __init__(self, server: Server, gate: str) -> None:
        self.server, self.gate = server, gate

    def apply(self, kind: str, name: str, **parts: Any) -> None:
        version = {"Canary": "flagger.app/v1beta1", "Deployment": "apps/v1", "ConfigMap": "v1"}[kind]
        value = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, **parts}
        self.server.kubectl("apply", "-f", "-", stdin=json.dumps(value))

    def model(self, name: str, image: str) -> None:
        pod = {
            "initContainers": [{"name": "model", "image": image}],
            "containers": [{"name": "server", "image": "registry.local/servers/mpg:v1"}],
        }
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": pod}
        self.apply("Deployment", name, spec={"selector": {"matchLabels": labels}, "template": template})

    def canary(self, name: str) -> None:
        hooks = [
            {"name": each, "type": each, "url": f"{self.gate}/flagger/{each}", "metadata": {"model": "mpg"}}
            for each in HOOKS
        ]
        analysis = {"interval": "10s", "threshold": 3, "stepWeights": [20, 50], "webhooks": hooks}
        ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        self.apply("Canary", name, spec={"targetRef": ref, "service": {"port": 8080}, "analysis": analysis})

    def phase(self, name: str) -> str:
        return self.server.kubectl("-n", NAMESPACE, "get", "canary", name, "-o", "jsonpath={.status.phase}")

    def rollout(self, name: str) -> dict[str, Any]:
        found = requests.get(f"{self.gate}/api/v1/rollouts", timeout=10).json()["rollouts"]
        return next((each for each in found if each["name"] == name), {})

    def decide(self, name: str, decision: str) -> None:
        address = f"{self.gate}/api/v1/rollouts/{self.rollout(name)['id']}/approval"
        requests.post(address, json={"decision": decision, "by": "ada"}, timeout=10).raise_for_status()


def wait(what: str, until: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, what
        time.sleep(1)


@pytest.fixture(name="scene", scope="module")
def _scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("gate-and-flagger")
    with ExitStack() as stack:
        server = stack.enter_context(available(lambda: started(folder)))
        server.kubectl("apply", "-k", str(FLAGGER / "install"))
        server.kubectl("create", "namespace", NAMESPACE)
        stack.enter_context(mark_ready(server.plane.kubeconfig))
        stack.enter_context(flagger(server, NAMESPACE))
        state = folder / "state"
        state.mkdir()
        prometheus = stack.enter_context(serve(lambda path, body: (200, NOTHING)))
        scene = Scene(server, stack.enter_context(served(state, server.plane.kubeconfig, prometheus=prometheus)))
        scene.apply("ConfigMap", "gate-mpg", data={"gate.yaml": GATE})
        for name in NAMES:
            scene.model(name, V1)
            scene.canary(name)
        wait("initialized", lambda: all(scene.phase(name) == "Initialized" for name in NAMES))
        yield scene


def test_two_rollouts_are_held_until_a_person_decides_about_each(scene: Scene) -> None:
    for name in NAMES:
        scene.model(name, V2)
    wait("held", lambda: all(scene.rollout(name).get("verdict") == "hold" for name in NAMES))
    for name in NAMES:
        held = scene.rollout(name)
        assert (held["image"], held["primary_image"]) == (V2, V1) and held["weight"] > 0
        assert "no request has reached the canary" in held["reason"]
        assert scene.phase(name) in ("Progressing", "WaitingPromotion")
    scene.decide("odd", "reject")
    scene.decide("good", "approve")
    wait("over", lambda: [scene.phase(name) for name in NAMES] == ["Succeeded", "Failed"])
    wait("seen", lambda: all(scene.rollout(name)["state"] != "active" for name in NAMES), 20)
    good, odd = (scene.rollout(name) for name in NAMES)
    assert (good["state"], good["verdict"], good["phase"]) == ("promoted", "accept", "Succeeded")
    assert (odd["state"], odd["verdict"], odd["phase"], odd["primary_image"]) == ("failed", "reject", "Failed", V1)
    whole = requests.get(f"{scene.gate}/api/v1/rollouts/{good['id']}", timeout=10).json()
    assert [each["weight"] for each in whole["weights"]] == [0, 20, 50]
    assert {each["hook"] for each in whole["events"]} >= {*HOOKS, "approval"} - {"rollback"}
