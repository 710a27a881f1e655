"""The KServe variant on a real cluster: `modelpack bump` rewrites its storageUri, Flux applies it, KServe's own
controller serves the image as a modelcar, and Contour's Envoy reaches it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import kserve
from tests.cluster.environment import Environment
from tests.cluster.scene import Scene
from tests.cluster.world import NAMESPACE, ROOT, Watcher, World, renamed, wait, world

pytestmark = pytest.mark.xdist_group("cluster")

SECONDS = 120


@pytest.fixture(name="world", scope="module")
def _world(cluster: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    kserve.install(cluster)
    found = world(cluster, tmp_path_factory.mktemp("kserve"), Watcher(cluster))
    yield found
    found.clean_up()


def variant(scene: Scene, checkout: Path) -> None:
    """manifests/kserve in place of the Deployment, under the model's name."""
    registry = scene.world.environment.registry
    folder = checkout / "manifests" / scene.name
    shutil.rmtree(folder)
    shutil.rmtree(checkout / "flagger" / scene.name)
    shutil.copytree(ROOT / "manifests" / "kserve", folder)
    for file in folder.iterdir():
        file.write_text(renamed(file.read_text(), scene.name, registry))
    model = checkout / "model-images" / scene.name / "model.yaml"
    target = f"{{file: manifests/{scene.name}/inferenceservice.yaml, kind: InferenceService, name: {scene.name}}}"
    model.write_text(f"{model.read_text().partition('targets:')[0]}targets:\n- {target}\n")


def answering(scene: Scene) -> str:
    """The version that answers by way of the ingress that KServe made."""
    return scene.ask({"Host": f"{scene.name}-{NAMESPACE}.{kserve.DOMAIN}"})


def test_a_bumped_inferenceservice_is_served_as_a_modelcar(world: World) -> None:
    scene = Scene(world, "isvc")
    first, then = scene.build("v1"), scene.build("v2")
    scene.commit(lambda checkout: variant(scene, checkout))
    for version, image in (("v1", first), ("v2", then)):
        done = scene.bump(version)
        assert done.code == 0, done.err
        scene.follow()
        wait(f"{version} to answer", lambda: answering(scene) == version, SECONDS)  # noqa: B023
        found = world.environment.get("inferenceservices", NAMESPACE, scene.name)
        assert found["spec"]["predictor"]["model"]["storageUri"] == f"oci://{image}"
        wait("KServe to call it ready", lambda: ready(scene), SECONDS)
    (pod,) = pods(scene)
    assert {each["name"]: each["image"] for each in pod["spec"]["containers"]}["modelcar"] == then


def test_the_webhook_refuses_a_name_that_is_no_host(world: World) -> None:
    text = (ROOT / "manifests" / "kserve" / "inferenceservice.yaml").read_text()
    with pytest.raises(subprocess.CalledProcessError) as refused:
        world.environment.kubectl("create", "-f", "-", stdin=text.replace("name: mpg\n", "name: m.p.g\n", 1))
    assert "inferenceservice.kserve-webhook-server.validator" in refused.value.stderr


def ready(scene: Scene) -> bool:
    found = scene.world.environment.get("inferenceservices", NAMESPACE, scene.name)
    return any(each["type"] == "Ready" and each["status"] == "True" for each in found["status"]["conditions"])


def pods(scene: Scene) -> list[dict[str, object]]:
    """Those that are not on their way out."""
    words = ["pods", f"--namespace={NAMESPACE}", f"--selector=serving.kserve.io/inferenceservice={scene.name}"]
    found = json.loads(scene.world.environment.kubectl("get", *words, "--output=json"))["items"]
    return [each for each in found if "deletionTimestamp" not in each["metadata"]]
