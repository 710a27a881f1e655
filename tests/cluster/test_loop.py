"""The whole loop on a real cluster: new data, a run on Tekton, a pull request on Gitea, Flux, Flagger's canary, and the
chain read back from the registry."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.cluster import images, tekton, training, volumes
from tests.cluster.environment import Environment
from tests.cluster.layout import HOST
from tests.cluster.scenarios import RATE, ROLLOUT
from tests.cluster.scene import Scene
from tests.cluster.training import EXAMPLE, NAMESPACE, TEKTON
from tests.cluster.world import ROOT, Watcher, wait, world
from tests.command import Done
from tests.integration.conftest import available
from tests.integration.servers.gitea import OWNER, ROBOT, Project, gitea

pytestmark = pytest.mark.xdist_group("cluster")

SECONDS = 300


@dataclass(frozen=True)
class Loop:
    """A model that serves v1, its repository on Gitea, and its data."""

    scene: Scene
    forge: Project
    project: training.Project

    def reconcile(self, *words: str) -> Done:
        """One round of the reconcilers."""
        environment = self.scene.world.environment
        where = ["--repo", self.scene.world.repo, "--branch", "main", "--gate", environment.gate]
        done = self.scene.modelpack("reconcile", self.scene.name, "--once", *where, *words)
        assert done.code == 0, (done.out, done.err)
        return done

    def runs(self) -> dict[str, str]:
        """Why each run was started, by its name."""
        found = self.scene.world.environment.get("pipelineruns", NAMESPACE)["items"]
        told = [json.loads(each["metadata"]["annotations"]["modelpack.dev/run"]) for each in found]
        return {each["id"]: f"{each['version']}: {each['reason']}" for each in told if each["model"] == self.scene.name}


@pytest.fixture(name="loop", scope="module")
def _loop(cluster: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("loop")
    tekton.install(cluster)
    volumes.add(cluster, 3)
    cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "manifests" / "tekton"))
    images.push(cluster.registry, images.training())
    with (
        training.storage(folder / "s3", cluster) as s3,
        available(lambda: gitea(folder / "gitea", host=HOST)) as server,
        pytest.MonkeyPatch.context() as patch,
        Watcher(cluster) as watcher,
    ):
        forge = server.create("serving")
        login = server.url.replace("http://", f"http://{ROBOT}:{server.tokens[ROBOT]}@", 1)
        for name, value in (("COUNT", "1"), ("KEY_0", f"url.{login}/.insteadOf"), ("VALUE_0", f"{server.url}/")):
            patch.setenv(f"GIT_CONFIG_{name}", value)
        scenes = world(replace(cluster, git=f"{server.url}/{OWNER}"), folder, watcher)
        scene = Scene(scenes, "loop")
        project = training.Project(cluster, s3, scene.folder, scene.name)
        scene.env |= {**project.env, "GITEA_TOKEN": server.tokens[ROBOT]}
        cluster.apply(*project.objects())
        project.put_data(1977)
        scene.serve(lambda checkout: write(project, checkout))
        yield Loop(scene, forge, project)
        scenes.clean_up()
    cluster.kubectl("delete", "-k", str(ROOT / "manifests" / "tekton"), "--timeout=50s")


def write(project: training.Project, checkout: Path) -> None:
    """What trains the model, beside what serves it."""
    folder = checkout / "model-images" / project.name
    runs = TEKTON.replace("TRAIN", project.pinned(images.versions()["train"]))
    for path in EXAMPLE.glob("*.*"):
        if path.suffix in (".py", ".ipynb") or path.name in ("data.yaml", "training.yaml", "model.yaml"):
            (folder / path.name).write_text(project.adapted(path, runs))
    with (folder / "model.yaml").open("a") as file:
        file.write("pullRequest: {forge: gitea}\n")


def test_new_data_becomes_a_promoted_model_by_one_run_and_one_pull_request(loop: Loop) -> None:
    scene = loop.scene
    loop.project.put_data(1982)

    def proposed() -> bool:
        loop.reconcile()
        return bool(loop.forge.pulls())

    wait("the pull request", proposed, SECONDS, pause=5)
    loop.reconcile()
    runs = loop.runs()
    assert len(runs) == 1, runs
    (run,) = runs
    (pull,) = loop.forge.pulls()
    assert "mae" in pull["body"]
    with scene.load(RATE):
        started = time.time()
        loop.forge.merge(pull["number"])
        scene.wait_for("Succeeded", ROLLOUT, started)
    image = scene.serving()
    assert ":v2@sha256:" in image
    loop.reconcile()
    assert (loop.runs(), len(loop.forge.pulls())) == (runs, 1)
    where = ["--repo", scene.world.repo, "--branch", "main"]
    chain = scene.modelpack("lineage", image, "--json", *where)
    assert chain.code == 0, chain.err
    steps = {each["kind"]: each for each in json.loads(chain.out)["steps"]}
    assert list(steps) == ["data", "code", "run", "evaluation", "image", "commit", "rollout", "verdict"]
    assert run in json.dumps(steps["run"])
    assert {kind for kind, each in steps.items() if each["state"] == "bad"} == set()


def test_a_worse_model_is_not_proposed_and_the_table_says_why(loop: Loop) -> None:
    before, path = len(loop.forge.pulls()), f"model-images/{loop.scene.name}/production.ipynb"
    text = loop.scene.git_file(path)
    worse = text.replace("rounded(model.intercept_)", "rounded(model.intercept_ + 9)")
    assert worse != text
    loop.forge.overwrite(path, worse, user=ROBOT)

    def judged() -> dict[str, object] | None:
        loop.reconcile()
        words = ["list", loop.scene.image, "--json", "--repo", loop.scene.world.repo, "--branch", "main"]
        versions = json.loads(loop.scene.modelpack(*words).out)["versions"]
        return next((each for each in versions if each["version"] == "v3"), None)

    version = wait("the evaluation", judged, SECONDS, pause=5)
    assert version["passed"] is False
    loop.reconcile()
    assert (len(loop.forge.pulls()), len(loop.runs())) == (before, 2)
    told = loop.scene.modelpack("lineage", f"{loop.scene.image}:v3", "--repo", loop.scene.world.repo)
    assert told.code == 0, told.err
    assert "mae" in told.out
