"""The whole loop, driven as a cluster drives it: needs-sync says that new data wants a run, the operator starts one on
Tekton, whose last step opens a pull request on Gitea; then Flux, Flagger's canary, and the chain read back from the
registry. The repository is private, so every part shows that it uses its own login."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import images, training, volumes
from tests.cluster.environment import Environment
from tests.cluster.images import BUSYBOX
from tests.cluster.layout import HOST, NODE
from tests.cluster.scenarios import RATE, ROLLOUT
from tests.cluster.scene import Scene
from tests.cluster.training import EXAMPLE, NAMESPACE, TEKTON
from tests.cluster.world import ROOT, Watcher, wait, world
from tests.integration.conftest import available
from tests.integration.servers.gitea import OWNER, REVIEWER, ROBOT, Project, gitea
from tests.integration.servers.s3 import S3

pytestmark = pytest.mark.xdist_group("cluster")

SECONDS = 300
RECONCILER = ROOT / "manifests" / "reconciler"
SPACE = "modelpack"  # where the operator and needs-sync are
LOGIN = "serving-login"
KIND = "modelsyncs.modelpack.dev"
OVERLAY = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [{base}]
configMapGenerator:
- {{name: modelpack-needs-sync, namespace: modelpack, behavior: merge, literals: ["repo={repo}"]}}
"""


@dataclass(frozen=True)
class Loop:
    """A model that serves, its repository on Gitea, and its data."""

    cluster: Environment
    scene: Scene
    forge: Project
    project: training.Project

    def modelsync(self) -> dict[str, Any]:
        """The example, about this model."""
        text = (RECONCILER / "examples" / "mpg.yaml").read_text()
        found: dict[str, Any] = yaml.safe_load(re.sub(r"\bmpg\b", self.scene.name, text))
        found["spec"]["interval"] = "2s"
        return found

    def failing(self) -> dict[str, Any]:
        """One that asks the same, with a pipeline that fails."""
        found = self.modelsync()
        found["metadata"]["name"] = f"{self.scene.name}-bad"
        step: dict[str, Any] = {
            "name": "step",
            "image": f"{self.cluster.registry}/{BUSYBOX}",
            "command": ["sh", "-c", "exit 3"],
        }
        step["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        tasks = [{"name": "task", "taskSpec": {"steps": [step]}}]
        pipeline = {"params": [{"name": "run"}], "tasks": tasks}
        template = found["spec"]["pipelineRunTemplate"]["spec"]["taskRunTemplate"]
        found["spec"]["pipelineRunTemplate"] = {"spec": {"pipelineSpec": pipeline, "taskRunTemplate": template}}
        return found

    def status(self, name: str = "") -> dict[str, Any]:
        found = self.cluster.get(KIND, NAMESPACE, name or self.scene.name)
        return dict(found.get("status") or {})

    def rests(self) -> bool:
        """Whether needs-sync was asked after the last run, and wants no other."""
        return any(each["reason"] == "UpToDate" for each in self.status().get("conditions", ()))

    def runs(self) -> list[tuple[dict[str, Any], str]]:
        """What each run that the operator started was asked for, and why it ended, in their order."""
        words = [f"--namespace={NAMESPACE}", f"--selector=modelpack.dev/modelsync={self.scene.name}"]
        found = json.loads(self.cluster.kubectl("get", "pipelineruns", *words, "--output=json"))["items"]
        told = []
        for each in sorted(found, key=lambda each: int(each["metadata"]["annotations"]["modelpack.dev/number"])):
            params = {each["name"]: each["value"] for each in each["spec"]["params"]}
            conditions = each.get("status", {}).get("conditions") or [{}]
            told.append((json.loads(params["run"]), str(conditions[0].get("reason", ""))))
        return told

    def kill_operator(self) -> None:
        """All of its pods, so that a new one has to find out what the old ones did."""
        words = [f"--namespace={SPACE}", "--selector=app=modelpack-operator", "--grace-period=0", "--force"]
        self.cluster.kubectl("delete", "pod", *words, "--wait=false")

    def json(self, *words: str) -> Any:
        done = self.scene.modelpack(*words, "--json", "--repo", self.scene.world.repo, "--branch", "main")
        assert done.code == 0, (done.out, done.err)
        return json.loads(done.out)


@pytest.fixture(name="loop", scope="module")
def _loop(training_cluster: Environment, s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    cluster, folder = training_cluster, tmp_path_factory.mktemp("loop")
    volumes.add(cluster, 3)
    with (
        available(lambda: gitea(folder / "gitea", host=HOST)) as server,
        pytest.MonkeyPatch.context() as patch,
        Watcher(cluster) as watcher,
    ):
        forge = server.create("serving")
        forge.api("PATCH", "", {"private": True})
        login = {ROBOT: forge.with_login(ROBOT), REVIEWER: forge.with_login(REVIEWER)}
        for name, value in (("COUNT", "1"), ("KEY_0", f"url.{login[ROBOT]}.insteadOf"), ("VALUE_0", forge.url)):
            patch.setenv(f"GIT_CONFIG_{name}", value)
        basic = {"username": REVIEWER, "password": server.tokens[REVIEWER]}
        cluster.apply(secret("flux-system", LOGIN, basic))
        scenes = world(replace(cluster, git=f"{server.url}/{OWNER}"), folder, watcher, LOGIN)
        scene = Scene(scenes, "loop")
        project = training.Project(scenes.environment, s3, scene.folder, scene.name, "serving")
        scene.env |= project.env
        cluster.apply(*project.objects(), *logins(project, login, server.tokens[ROBOT]), reach())
        project.put_data(1977)
        scene.build("v1")
        scene.commit(lambda checkout: write(project, checkout))
        assert scene.bump("v1").code == 0
        scene.follow()  # it serves by the time that it is needed
        install(cluster, folder / "overlay", forge.url)
        yield Loop(cluster, scene, forge, project)
        scenes.clean_up()
        cluster.kubectl("delete", f"secret/{LOGIN}", "--namespace=flux-system")
        cluster.kubectl("delete", "-k", str(folder / "overlay"), "--timeout=50s")


def install(cluster: Environment, overlay: Path, repo: str) -> None:
    """manifests/reconciler, told of the repository as its users tell it."""
    overlay.mkdir()
    base = os.path.relpath(RECONCILER, overlay.resolve())
    (overlay / "kustomization.yaml").write_text(OVERLAY.format(base=base, repo=repo))
    cluster.kubectl("apply", "--server-side", "-k", str(overlay))


def secret(namespace: str, name: str, values: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


def logins(project: training.Project, urls: dict[str, str], token: str) -> Iterator[dict[str, Any]]:
    """The Secrets that the manifests name: what reads has another login than what proposes."""
    registry = {"MODELPACK_INSECURE_REGISTRIES": project.environment.registry}
    yield secret(NAMESPACE, "modelpack-git", {"credentials": urls[REVIEWER]})
    yield secret(NAMESPACE, "modelpack-propose-git", {"credentials": urls[ROBOT]})
    yield secret(NAMESPACE, "modelpack-propose", {**registry, "GITEA_TOKEN": token})
    yield secret(SPACE, "modelpack-needs-sync-git", {"credentials": urls[REVIEWER]})
    yield secret(SPACE, "modelpack-needs-sync", project.env)


def reach() -> dict[str, Any]:
    """Git, registry and S3 have ports of their own here."""
    peers = [{"ipBlock": {"cidr": f"{each}/32"}} for each in (HOST, NODE)]
    spec = {"podSelector": {"matchLabels": {"app": "modelpack-needs-sync"}}, "policyTypes": ["Egress"]}
    metadata = {"name": "test-needs-sync", "namespace": SPACE}
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata}
    return policy | {"spec": spec | {"egress": [{"to": peers}]}}


def write(project: training.Project, checkout: Path) -> None:
    """What trains the model, beside what serves it; its weights climb in one step."""
    folder = checkout / "model-images" / project.name
    runs = TEKTON.replace("TRAIN", project.pinned(images.versions()["train"]))
    for path in EXAMPLE.glob("*.*"):
        if path.suffix in (".py", ".ipynb") or path.name in ("data.yaml", "training.yaml", "model.yaml"):
            (folder / path.name).write_text(project.adapted(path, runs))
    with (folder / "model.yaml").open("a") as file:
        file.write("pullRequest: {forge: gitea}\n")
    canary = checkout / "flagger" / project.name / "canary.yaml"
    canary.write_text(canary.read_text().replace("[10, 25, 50]", "[50]"))


def test_a_person_has_a_model_trained_on_tekton(loop: Loop) -> None:
    told = loop.project.train()
    run, version = told["run"]["id"], told["run"]["version"]
    assert told["result"]["image"].startswith(f"{loop.scene.image}:{version}@sha256:")
    assert loop.project.stored("models") == [f"{version}/{name}" for name in ("metadata.json", "model.json")]
    assert loop.project.stored("notebooks") == [f"{run}/{name}" for name in ("notebook.html", "notebook.ipynb")]
    status = loop.cluster.get("pipelineruns", NAMESPACE, run)["status"]
    steps = {each["pipelineTaskName"] for each in status["childReferences"]}
    assert steps == {"fetch", "validate", "test", "train", "evaluate", "package"}


def test_new_data_becomes_a_promoted_model_by_one_run_and_one_pull_request(loop: Loop) -> None:
    scene = loop.scene
    loop.cluster.apply(loop.modelsync(), bad := loop.failing())
    wait("needs-sync to want nothing", loop.rests, SECONDS)
    assert loop.runs() == []
    loop.project.put_data(1982)
    failing = bad["metadata"]["name"]
    wait("the other one to fail", lambda: loop.status(failing)["lastRun"]["state"] == "Failed", SECONDS)
    loop.cluster.kubectl("delete", KIND, failing, f"--namespace={NAMESPACE}")
    assert [reason for _, reason in loop.runs()] == ["Running"]
    loop.kill_operator()
    wait("the operator to see the run's end", loop.rests, SECONDS)
    ((run, reason),) = loop.runs()
    assert (reason, run["reason"].partition(":")[0]) == ("Succeeded", "its data changed since v2")
    (pull,) = loop.forge.pulls()
    assert "mae" in pull["body"] and pull["user"]["login"] == ROBOT
    scene.wait_for("Initialized", SECONDS)
    with scene.load(RATE):
        started = time.time()
        loop.forge.merge(pull["number"])
        scene.wait_for("Succeeded", ROLLOUT, started)
    image = scene.serving()
    assert f":{run['version']}@sha256:" in image
    outcomes = loop.json("reconcile", scene.name, "--once", "--gate", loop.cluster.gate)["outcomes"]
    assert [(each["what"], each["action"]) for each in outcomes] == [
        ("train", "nothing"),
        ("deploy", "nothing"),
        ("record", "recorded"),
    ]
    assert (len(loop.runs()), len(loop.forge.pulls())) == (1, 1)
    steps = {each["kind"]: each for each in loop.json("lineage", image)["steps"]}
    assert list(steps) == ["data", "code", "run", "evaluation", "image", "commit", "rollout", "verdict"]
    assert run["id"] in json.dumps(steps["run"])
    assert {kind for kind, each in steps.items() if each["state"] == "bad"} == set()


def test_a_worse_model_is_not_proposed_and_the_table_says_why(loop: Loop) -> None:
    path, before = f"model-images/{loop.scene.name}/production.ipynb", loop.project.stored("models")
    text = loop.scene.git_file(path)
    worse = text.replace("rounded(model.intercept_)", "rounded(model.intercept_ + 9)")
    assert worse != text
    loop.forge.overwrite(path, worse, user=REVIEWER)
    wait("another run", lambda: len(loop.runs()) == 2, SECONDS)
    wait("its end", loop.rests, SECONDS)
    (_, (run, reason)) = loop.runs()
    assert reason == "Completed", "what proposes was not asked"
    assert len(loop.forge.pulls()) == 1
    versions = {each["version"]: each["passed"] for each in loop.json("list", loop.scene.image)["versions"]}
    assert versions[run["version"]] is False
    assert loop.project.stored("models") == before and run["version"] not in loop.project.tags()
    told = loop.scene.modelpack("lineage", f"{loop.scene.image}:{run['version']}", "--repo", loop.scene.world.repo)
    assert told.code == 0, told.err
    assert "mae" in told.out
