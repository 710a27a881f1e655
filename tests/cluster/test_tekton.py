"""manifests/tekton on the real Tekton: its webhook judges them, its controller runs them, in restricted pods."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest

from tests.cluster import images, tekton, training, volumes
from tests.cluster.environment import Environment
from tests.cluster.images import BUSYBOX
from tests.cluster.training import NAMESPACE, TEKTON, Project
from tests.cluster.world import ROOT, git, wait

pytestmark = pytest.mark.xdist_group("cluster")

FOLDER = ROOT / "manifests" / "tekton"
SECONDS = 180


@pytest.fixture(name="environment", scope="module")
def _environment(cluster: Environment) -> Iterator[Environment]:
    """With Tekton, and what manifests/tekton installs."""
    tekton.install(cluster)
    cluster.kubectl("apply", "--server-side", "-k", str(FOLDER))
    yield cluster
    cluster.kubectl("delete", "-k", str(FOLDER), "--timeout=50s")


@pytest.fixture(name="project", scope="module")
def _project(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The example, with its first data; each run takes a volume."""
    with training.storage(tmp_path_factory.mktemp("s3"), environment) as s3:
        found = training.project(environment, s3, tmp_path_factory.mktemp("project"))
        found.prepare(TEKTON)
        volumes.add(environment, 3)
        yield found


def ran(environment: Environment, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The status of a PipelineRun once it has ended."""
    volumes.add(environment, 1)
    name = f"test-{uuid4().hex[:8]}"
    metadata = {"name": name, "namespace": NAMESPACE}
    claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    restricted = {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532}
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": {**restricted, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    whole = {
        "taskRunTemplate": {"serviceAccountName": "modelpack-train", "podTemplate": pod},
        "workspaces": [{"name": "run", "volumeClaimTemplate": claim}],
        **spec,
    }
    environment.apply({"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": metadata, "spec": whole})

    def ended() -> dict[str, Any] | None:
        status = environment.get("pipelineruns", NAMESPACE, name).get("status", {})
        return status if "completionTime" in status else None

    return wait(f"PipelineRun {name} to end", ended, SECONDS)


def task(name: str, script: str, image: str, **more: Any) -> dict[str, Any]:
    unprivileged = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    step = {"name": "step", "image": image, "command": ["sh", "-c", script], "securityContext": unprivileged}
    spec = {"workspaces": [{"name": "run"}], "results": [{"name": "said"}], "steps": [step]}
    return {"name": name, "workspaces": [{"name": "run", "workspace": "run"}], "taskSpec": spec, **more}


def test_tasks_share_a_workspace_and_give_results(environment: Environment) -> None:
    image = f"{environment.registry}/{BUSYBOX}"
    first = task("first", "echo hello >$(workspaces.run.path)/note; echo -n one >$(results.said.path)", image)
    script = "cat $(workspaces.run.path)/note >$(results.said.path)"
    spec = {
        "workspaces": [{"name": "run"}],
        "results": [{"name": "said", "value": "$(tasks.first.results.said) $(tasks.second.results.said)"}],
        "tasks": [first, task("second", script, image, runAfter=["first"])],
    }
    status = ran(environment, {"pipelineSpec": spec})
    assert status["conditions"][0]["reason"] == "Succeeded", status["conditions"]
    assert status["results"] == [{"name": "said", "value": "one hello\n"}]


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("pipeline.yaml", "$(params.run)", "$(params.rum)", "non-existent variable"),
        ("pipeline.yaml", "tasks.package.results.result", "tasks.packages.results.result", "invalid value"),
        ("pipeline.yaml", "runAfter: [train]", "runAfter: [trained]", "trained wasn't present in Pipeline"),
        ("step.yaml", "$(params.step)", "$(params.stop)", "non-existent variable"),
        ("step.yaml", "computeResources:", "resource:", "unknown field"),
    ],
)
def test_the_webhook_refuses_a_mistake_in_them(
    environment: Environment, file: str, old: str, new: str, problem: str
) -> None:
    text = (FOLDER / file).read_text()
    assert old in text
    with pytest.raises(subprocess.CalledProcessError) as refused:
        environment.kubectl("replace", "--dry-run=server", "-f", "-", stdin=text.replace(old, new))
    assert problem in refused.value.stderr


def test_the_training_image_is_the_one_of_the_versions(environment: Environment) -> None:
    pipeline = environment.get("pipelines", NAMESPACE, "modelpack-train")
    defaults = {each["name"]: each.get("default", "") for each in pipeline["spec"]["params"]}
    assert defaults["image"] == f"registry.example.com/{images.versions()['train']}"


def test_a_run_may_ask_the_api_server_for_nothing(environment: Environment) -> None:
    who = f"--as=system:serviceaccount:{NAMESPACE}:modelpack-train"
    for verb, what in (("get", "secrets"), ("list", "pods"), ("create", "pods"), ("create", "pipelineruns.tekton.dev")):
        with pytest.raises(subprocess.CalledProcessError):
            environment.kubectl("auth", "can-i", verb, what, who, f"--namespace={NAMESPACE}")


def test_the_examples_notebook_becomes_a_model_container(project: Project) -> None:
    told = project.train()
    run, version = told["run"]["id"], told["run"]["version"]
    assert told["result"]["image"].startswith(f"{project.image}:{version}@sha256:")
    assert project.stored("models") == [f"{version}/{name}" for name in ("metadata.json", "model.json")]
    assert project.stored("notebooks") == [f"{run}/{name}" for name in ("notebook.html", "notebook.ipynb")]
    status = project.environment.get("pipelineruns", NAMESPACE, run)["status"]
    steps = {each["pipelineTaskName"] for each in status["childReferences"]}
    assert steps == {"fetch", "validate", "test", "train", "evaluate", "package"}
    listed = project.modelpack("list", project.image, "--json")
    assert listed.code == 0, listed.err
    assert version in listed.out


def test_the_pipeline_itself_proposes_what_passed_where_it_is_told_to(project: Project) -> None:
    project.change("training.yaml", lambda text: f"{text}propose: commit\n")
    run = project.train()["run"]
    spec = project.environment.get("pipelineruns", NAMESPACE, run["id"])["spec"]
    params = [*spec["params"], {"name": "propose", "value": "true"}]
    status = ran(project.environment, {"pipelineRef": spec["pipelineRef"], "params": params})
    assert status["conditions"][0]["reason"] == "Succeeded", status["conditions"]
    git("pull", "-q", "origin", "main", cwd=project.checkout)
    served = (project.checkout / "manifests" / project.name / "deployment.yaml").read_text()
    assert f"{project.image}:{run['version']}@sha256:" in served


def test_a_model_that_does_not_pass_is_not_packaged(project: Project) -> None:
    project.change("production.ipynb", lambda text: text.replace("rounded(model.intercept_)", "rounded(99.0)"))
    before = project.stored("models")
    told = project.train(4)
    assert project.stored("models") == before
    assert told["run"]["version"] not in project.tags()
    status = project.environment.get("pipelineruns", NAMESPACE, told["run"]["id"])["status"]
    assert status["conditions"][0]["status"] == "True"
    assert {each["name"]: each["value"] for each in status["results"]}["passed"] == "false"
