"""The scenarios of test_rollouts.py that leave others alone: each with a model of its own, all in one namespace."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from tests.cluster.load import ERROR, LOST, UNKNOWN
from tests.cluster.scene import Scene
from tests.cluster.world import NAMESPACE, ROOT, World, wait

RATE = 60.0  # requests a second
INTERVAL = 10.0  # seconds, the example's
ROLLOUT = 240.0  # seconds that a rollout may take on a busy machine


def promoted(world: World) -> None:
    """Every check accepts, that for drift as the horizon ends. Predictions may differ a little: v9 is rounded."""
    scene = Scene(world, "promoted")
    scene.serve(lambda checkout: with_every_check(scene, checkout, horizon="2m", limit=0.5), "v9")
    wanted = scene.build("v2")
    with scene.load(RATE, tells=True) as load:
        started = time.time()
        assert scene.bump("v2").code == 0
        wait("the last weight", lambda: scene.history[-1].weight == 50, ROLLOUT)
        wait("a value in every panel", scene.every_panel_shows, 60)
        scene.wait_for("Succeeded", ROLLOUT, started)
    assert {who: load.answered(who) for who in (ERROR, LOST, UNKNOWN)} == {ERROR: 0, LOST: 0, UNKNOWN: 0}
    assert min(load.answered("v9"), load.answered("v2")) > 0
    assert [each.weight for each in scene.history if each.at > started and each.phase == "Progressing"][-1] == 50
    assert scene.serving() == wanted
    _gate_has_heard(scene)
    assert (scene.named(), scene.rollouts()[0]["state"]) == ("v2", "promoted")
    verdicts = {each["name"]: each["verdict"] for each in scene.rollouts()[0]["checks"]}
    assert verdicts == dict.fromkeys(("golden", "errors", "latency", "promise", "predictions", "quality"), "accept")


FAULTS = (  # a version, whether true values are told, the check that is to catch it
    ("v8", False, "latency"),
    ("v6", False, "predictions"),
    ("v7", True, "quality"),
)


def faults(world: World) -> None:
    """What neither the golden set nor an error tells; v2 serves throughout."""
    scene = Scene(world, "faults")
    for version, _, _ in FAULTS:
        scene.build(version)

    def in_one_step(checkout: Path) -> None:
        with_every_check(scene, checkout)
        canary = checkout / "flagger" / scene.name / "canary.yaml"
        canary.write_text(canary.read_text().replace("[10, 25, 50]", "[50]"))

    scene.serve(in_one_step, "v2")
    for version, tells, check in FAULTS:
        with scene.load(RATE, tells):
            _roll_back(scene, version)
        assert _rejecting(scene, version) == [check]


def with_every_check(scene: Scene, checkout: Path, horizon: str = "10m", limit: float = 0.2) -> None:
    """Have the server tell the gate what it predicts, as manifests/client does, and the gate look at that as well."""
    client = yaml.safe_load((ROOT / "manifests" / "client" / "kustomization.yaml").read_text())
    (patch,) = yaml.safe_load(client["patches"][0]["patch"])
    path, port = checkout / "manifests" / scene.name / "deployment.yaml", '- {name: PORT, value: "8080"}\n'
    added = (patch["value"], {"name": "MODEL_NAME", "value": scene.name})
    more = port + "".join(f"        - {json.dumps(each)}\n" for each in added)
    path.write_text(path.read_text().replace(port, more))
    gate = checkout / "model-images" / scene.name / "gate.yaml"
    example = gate.read_text().replace("horizon: 10m", f"horizon: {horizon}")
    gate.write_text(example + _TOLD.replace("limit: 0.2", f"limit: {limit}"))


_TOLD = """\
- {name: predictions, type: drift, predictions: true, limit: 0.2, min_sample: 400}
- name: quality
  type: labels
  metric: mae
  margin: 0.3
  unit: mpg
  min_sample: 100
  segments: {label: origin, values: [europe, japan, usa], margin: 1.0, min_sample: 20}
"""


def _roll_back(scene: Scene, version: str) -> None:
    """Have a version fail after another: the phase before is Failed as well."""
    bumped = time.time()
    assert scene.bump(version).code == 0
    started = scene.wait_for("Progressing", ROLLOUT, bumped)
    scene.wait_for("Failed", ROLLOUT, started.at)


def _rejecting(scene: Scene, version: str) -> list[str]:
    (rollout,) = (each for each in scene.rollouts() if f":{version}@" in each["image"])
    return [each["name"] for each in rollout["checks"] if each["verdict"] == "reject"]


def wrong_units(world: World) -> None:
    scene = Scene(world, "units")
    scene.serve()
    scene.build("v3")
    scene.build("v5")
    with scene.load(RATE) as load:
        started = time.time()
        assert scene.bump("v3").code == 0
        scene.wait_for("Failed", ROLLOUT, started)
        wait("the revert", lambda: scene.named() == "v1", 60)
    assert load.answered("v3") == 0
    assert max(each.weight for each in scene.history if each.at > started) == 0
    assert [each["version"] for each in scene.rejected()] == ["v3"]
    assert _rejecting(scene, "v3") == ["golden"]
    refused = scene.bump("v3")
    assert (refused.code, "rejected" in refused.err) == (4, True)
    scene.build("v3", "--base", "none")  # the same model in another image
    refused = scene.bump("v3")
    assert (refused.code, "rejected" in refused.err) == (4, True)
    _roll_back(scene, "v5")
    assert _rejecting(scene, "v5") == ["golden"]
    assert "segment europe" in scene.rollouts()[0]["reason"]


def lost_cars(world: World) -> None:
    scene = Scene(world, "cars")
    scene.serve(None, "v2")
    scene.build("v4")
    with scene.load(RATE) as load:
        started = time.time()
        assert scene.bump("v4").code == 0
        failed = scene.wait_for("Failed", ROLLOUT, started)
        wait("the revert", lambda: scene.named() == "v2", 60)
    rollout = scene.rollouts()[0]
    counted = max(each["n"] for each in rollout["checks"] if each["counts"] == "requests")
    weights = [each.weight for each in scene.history if each.at > started]
    late = 2 * INTERVAL + 5  # the verdict waits for a scrape, Flagger for its next tick
    assert 0 < load.answered("v4") + load.answered(ERROR) <= counted + RATE * late * max(weights) / 100
    assert load.answered(LOST) == 0
    assert scene.reverted_at() >= int(failed.at)
    wait("Flux to apply the revert", lambda: ":v2@" in scene.serving(scene.name), 60)
    time.sleep(2 * INTERVAL)
    assert scene.history[-1].phase == "Failed"
    assert [each["version"] for each in scene.rejected()] == ["v4"]
    assert set(_rejecting(scene, "v4")) <= {"errors", "promise"}


def newer(world: World) -> None:
    scene = Scene(world, "newer")
    scene.serve()
    scene.build("v4")
    wanted = scene.build("v2")
    with scene.load(RATE / 2):
        started = time.time()
        assert scene.bump("v4").code == 0
        wait("v4 under traffic", lambda: scene.history[-1].weight > 0, ROLLOUT)
        assert scene.bump("v2").code == 0
        scene.wait_for("Succeeded", ROLLOUT, started)
    time.sleep(INTERVAL)
    assert scene.serving() == wanted
    assert scene.named() == "v2"
    states = {each["image"].split("@")[0].rpartition(":")[2]: each["state"] for each in scene.rollouts()}
    assert states == {"v2": "promoted", "v4": "superseded"}


def half_way(world: World) -> None:
    """Pods of the primary are refused once it is to serve v2, so that the promotion breaks off."""
    scene = Scene(world, "halfway")

    def short_deadline(checkout: Path) -> None:
        path = checkout / "manifests" / scene.name / "deployment.yaml"
        path.write_text(path.read_text().replace("\nspec:\n", "\nspec:\n  progressDeadlineSeconds: 30\n", 1))

    scene.serve(short_deadline)
    scene.build("v2")
    world.environment.apply(*yaml.safe_load_all(_POLICY.replace("halfway", scene.name)))
    with scene.load(RATE):
        started = time.time()
        assert scene.bump("v2").code == 0
        scene.wait_for("Failed", ROLLOUT, started)

        def noted() -> str:
            return str(scene.rollouts()[0]["settled_note"])

        note = wait("settle to leave it to a person", noted, 60)
    world.environment.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", scene.name)
    assert "primary serves it already" in note
    assert (scene.named(), scene.rejected()) == ("v2", [])


_POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: halfway}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  validations:
  - expression: >-
      !(has(object.metadata.labels) && 'app' in object.metadata.labels
      && object.metadata.labels['app'] == 'halfway-primary'
      && object.spec.initContainers.exists(each, each.image.contains(':v2@')))
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: halfway}
spec: {policyName: halfway, validationActions: [Deny]}
"""


def never_ready(world: World) -> None:
    """No hook that begins a rollout is called before Flagger gives up: the gate finds out by itself."""
    scene = Scene(world, "unready")
    scene.spoil("v3")
    scene.serve(lambda checkout: given_up_soon(scene, checkout))
    failed = scene.build("v3")
    wanted = scene.build("v2")
    started = time.time()
    assert scene.bump("v3").code == 0
    scene.wait_for("Failed", ROLLOUT, started)
    wait("the revert", lambda: scene.named() == "v1", 90)
    assert [(each["image"], each["state"], each["reason"]) for each in scene.rollouts()] == [
        (failed, "failed", "it was over before the gate was asked")
    ]
    assert [each["image"] for each in scene.rejected()] == [failed]
    assert scene.bump("v2").code == 0
    scene.wait_for("Succeeded", ROLLOUT, started)
    assert scene.serving() == wanted
    assert [each["state"] for each in scene.rollouts()] == ["promoted", "failed"]


def given_up_soon(scene: Scene, checkout: Path) -> None:
    """Have Flagger wait for pods half a minute, and the golden set alone decide."""
    canary = checkout / "flagger" / scene.name / "canary.yaml"
    short = canary.read_text().replace("progressDeadlineSeconds: 120", "progressDeadlineSeconds: 30")
    canary.write_text(short.replace("[10, 25, 50]", "[50]"))
    gate = checkout / "model-images" / scene.name / "gate.yaml"
    gate.write_text(gate.read_text().partition("- name: errors")[0])


def quiet(world: World) -> None:
    scene = Scene(world, "quiet")
    scene.serve()
    scene.build("v2")
    scene.build("v4")
    for version, decision, phase, serving in (("v2", "approve", "Succeeded", "v2"), ("v4", "reject", "Failed", "v2")):
        started = time.time()
        assert scene.bump(version).code == 0

        def held() -> dict[str, str] | None:
            of_version = [each for each in scene.rollouts() if f":{version}@" in each["image"]]  # noqa: B023
            return next((each for each in of_version if each["verdict"] == "hold"), None)

        rollout = wait("the gate to ask a person", held, ROLLOUT)
        time.sleep(3 * INTERVAL)
        assert not {each.phase for each in scene.history if each.at > started} & {"Succeeded", "Failed"}
        status = scene.modelpack("status", scene.name, "--namespace", NAMESPACE)
        assert (status.code, rollout["reason"].split(":")[0] in status.out) == (0, True), status
        assert "no request" in status.out, status.out
        answer = scene.modelpack("gate", decision, rollout["id"], "--gate", world.environment.gate, "--by", "Ada")
        assert answer.code == 0, answer.err
        scene.wait_for(phase, ROLLOUT, started)
        wait(f"Git to name {serving}", lambda: scene.named() == serving, 60)  # noqa: B023


def restarted(world: World) -> None:
    """The copy of a model is killed half way, and takes seconds, as it gets a twentieth of a core."""
    if world.environment.state is None:
        return  # nobody's node but our own has processes that can be reached
    scene = Scene(world, "restarted")

    def slow_and_big(checkout: Path) -> None:
        path = checkout / "manifests" / scene.name / "deployment.yaml"
        path.write_text(path.read_text().replace("limits: {memory: 128Mi}", "limits: {memory: 128Mi, cpu: 50m}"))

    scene.weigh_down(256 << 20)
    scene.serve(slow_and_big)
    scene.build("v2")
    with scene.load(RATE) as load:
        started = time.time()
        assert scene.bump("v2").code == 0
        wait("a copy to kill", lambda: scene.kill_copy("v2"), ROLLOUT, pause=0.05)
        scene.wait_for("Succeeded", ROLLOUT, started)
    assert load.answered(ERROR) + load.answered(LOST) + load.answered(UNKNOWN) == 0
    assert scene.restarts() == 1
    assert scene.sha256_served("weights.bin") == scene.sha256_of("v2", "weights.bin")


def image_volume(world: World) -> None:
    scene = Scene(world, "volume")

    def as_scaffolded(checkout: Path) -> None:
        words = ["--image", scene.image, "--server", "registry.local/servers/mpg:v1", "--dir", scene.folder / "init"]
        done = scene.modelpack("init", scene.name, "--serve", "image-volume", *words)
        assert done.code == 0, done.err
        for path in (f"manifests/{scene.name}/deployment.yaml", f"model-images/{scene.name}/model.yaml"):
            text = (scene.folder / "init" / path).read_text()
            (checkout / path).write_text(text.replace("cpu: 100m", "cpu: 10m"))

    scene.base = "none"
    scene.serve(as_scaffolded)
    wanted = scene.build("v2")
    with scene.load(RATE) as load:
        started = time.time()
        assert scene.bump("v2").code == 0
        scene.wait_for("Succeeded", ROLLOUT, started)
    assert load.answered(ERROR) + load.answered(LOST) + load.answered(UNKNOWN) == 0
    assert load.answered("v2") > 0
    assert scene.serving() == wanted


STRATEGIES = ("ab-cookie-contour", "ab-header", "blue-green", "kubernetes")


def strategies(world: World) -> None:
    """The variants by iterations that this cluster has a data plane for; the golden set alone decides."""
    with ThreadPoolExecutor(len(STRATEGIES)) as pool:
        for each in [pool.submit(_strategy, world, variant) for variant in STRATEGIES]:
            each.result()


def _strategy(world: World, variant: str) -> None:
    scene = Scene(world, variant)

    def with_variant(checkout: Path) -> None:
        folder = checkout / "flagger"
        shutil.copytree(ROOT / "flagger" / "variants", folder / "variants", dirs_exist_ok=True)
        plan = folder / "variants" / "blue-green" / "kustomization.yaml"
        plan.write_text(plan.read_text().replace("value: 10}", "value: 3}"))  # iterations
        with (folder / scene.name / "kustomization.yaml").open("a") as file:
            file.write(f"components:\n- ../variants/{variant}\n")
        gate = checkout / "model-images" / scene.name / "gate.yaml"
        gate.write_text(gate.read_text().partition("- name: errors")[0])

    scene.serve(with_variant)
    scene.build("v2")
    started = time.time()
    assert scene.bump("v2").code == 0
    if variant.startswith("ab-"):
        wait("an iteration", lambda: scene.history[-1].iterations > 0, ROLLOUT)
        insider = {"x-canary": "insider", "Cookie": "canary=always"}
        assert wait("the route", lambda: scene.ask(insider) == "v2", 20)
        assert {scene.ask({}) for _ in range(20)} == {"v1"}
    scene.wait_for("Succeeded", ROLLOUT, started)
    _gate_has_heard(scene)
    assert [(each["state"], each["verdict"]) for each in scene.rollouts()] == [("promoted", "accept")]
    assert scene.named() == "v2"


SIDE_BY_SIDE: tuple[Callable[[World], None], ...] = (  # those that take longest first
    faults,
    quiet,
    newer,
    restarted,
    never_ready,
    half_way,
    image_volume,
    strategies,
    promoted,
    lost_cars,
    wrong_units,
)


def _gate_has_heard(scene: Scene) -> None:
    """Flagger's phase comes first; the gate hears of it by the hook after, or at its next look."""
    wait("the gate's word", lambda: scene.rollouts()[0]["state"] != "active", 30)
